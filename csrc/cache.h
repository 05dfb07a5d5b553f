/* Finds a compiled plan that is still true. */
#pragma once
#include "plan.h"

struct cached_plan {
        struct plan plan;
        void *bytes;
        size_t size;
        int fd; /* the file it came from; closes on exec */
};

/* The plan kept for a profile as the command line names it; sets, which NULL ends, are its NAME=VALUE. 0, or -errno:
 * -ENOENT none, -EPERM it isn't this user's alone, -EBADMSG it isn't sound, -ESTALE something that it was made from
 * has changed. */
int cache_find(const char *profile, const char *const *sets, char *const *environment, struct cached_plan *ret_plan);

/* Reads a plan from a descriptor; it is trusted no more than a cached one. */
int cache_read(int fd, struct cached_plan *ret_plan);

/* The value of a variable in environment, or NULL. */
const char *cache_variable(char *const *environment, const char *name);
/* The number that it begins with; 0 without one. */
uint64_t cache_number(char *const *environment, const char *name);
