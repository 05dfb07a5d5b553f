/* What the probe's parts share. */
#pragma once
#include <stddef.h>

#define MAX_VALUE 65536

extern char value[MAX_VALUE]; /* what an attempt has found out */

/* Reads a file into value: 0, or -1 with errno set. */
long slurp(const char *path);
unsigned long number(const char *text);
/* A JSON string, and one with a name before it; bytes above 0x7f as Latin-1. */
void put_string(const char *text, size_t n);
void put_member(const char *name, const char *text);

/* Runs what words name if it is a matter of the process itself: its exit status, or -1. */
int run_alone(int count, char **words);
