/* A new supervisor for a sandbox that has outlived its own (survive.h). */
#pragma once
#include "cache.h"
#include "survive.h"

struct survivor {
        struct sbx_record record;
        pid_t pid;
        int pidfd, leash;
        int kept[KEPT_COUNT];
        struct cached_plan plan;
        int ended;   /* nobody has looked: `status` tells how, as wait4(2) gives it; -1: it couldn't say */
        int status;
};

/* Takes over.  -ENOENT: there is no such sandbox; -EBUSY: it has a supervisor; -EOPNOTSUPP: it isn't one that survives;
 * -ESRCH: it has ended, and `ended` is set, with the record as it is. */
int adopt_open(const char *name, char *const *environment, struct survivor *ret);
void adopt_close(struct survivor *s);

/* The same, where it was started from the profile that this plan is of. */
int adopt_profile(const char *name, const struct plan *plan, char *const *environment, struct survivor *ret);

/* Says why adopt_open() failed. */
void adopt_refuse(const char *name, int error);

/* Takes the place of sbx_start(). */
int sbx_adopt(const struct sbx_launch *launch, struct survivor *s, struct sbx_child *ret_child);

/* Removes what is left of one that has ended. */
void adopt_bury(struct survivor *s);
