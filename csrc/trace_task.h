/* One traced task at a stop: its registers, its memory, where its paths start. */
#pragma once
#include "trace.h"

#include <limits.h>

#define TASK_BYTES 128 /* of an address or a structure, at most */

/* Ends the call at hand, which the kernel hasn't begun, with -error. */
int task_refuse_call(pid_t pid, int error);

/* Gives a call that hasn't begun another first argument. */
int task_set_first_argument(pid_t pid, uint64_t value);

/* The number of the call that a filter killed the task for; -1: it wasn't one. */
int task_killed_call(pid_t pid, uint64_t ret_arguments[6]);

/* Bytes of the task's memory; how many could be read. */
size_t task_read(pid_t pid, uint64_t address, void *to, size_t size);

/* A string, without its NUL; *ret_cut where there is more of it, or nothing that can be read. */
size_t task_read_string(pid_t pid, uint64_t address, char *to, size_t size, int *ret_cut);

/* What /proc/PID/NAME points to, as the task itself would call it; 0 where that can't be told. */
size_t task_read_link(pid_t pid, const char *name, char *to, size_t size);
size_t task_directory(pid_t pid, int fd, char *to, size_t size);
size_t task_program(pid_t pid, char to[16]);

int task_open(pid_t pid, const char *name, int flags);
