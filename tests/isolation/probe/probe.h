/* What the probe's parts share. */
#pragma once
#include <errno.h>
#include <stddef.h>

/* One attempt: 0 or more is a success of the attacker's, -1 a failure with errno set. */
struct verb {
        const char *name;
        long (*attempt)(char **arguments);
        int arguments; /* at least so many */
};

#define END_OF_VERBS { NULL, NULL, 0 }

extern const struct verb descriptor_verbs[], proc_verbs[], path_verbs[], mount_verbs[], identity_verbs[], call_verbs[],
        filter_verbs[], loosen_verbs[], network_verbs[], resource_verbs[], peer_verbs[];

/* Adds to what the answer tells besides its outcome. */
__attribute__((format(printf, 1, 2))) void say(const char *format, ...);

/* The answer of a call that worked and yielded nothing: ENODATA. */
long nothing(void);
/* The answer of a call that returns its error. */
long failed(int error);
/* "EPERM" for 1; NULL for a number that has no name. */
const char *error_name(int error);

unsigned long number(const char *text);
/* Reads at most n - 1 bytes of a file and ends them with a 0: how many, or -1. */
long slurp(const char *path, char *text, size_t n);
