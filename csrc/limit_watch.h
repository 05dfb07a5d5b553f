/* Tells of a limit of a sandbox's own as it is hit, where the kernel says so of itself: memory.events and pids.events
 * with POLLPRI, in version 1 memory.oom_control by an eventfd.  Nothing is asked for again and again. */
#pragma once
#include "executor.h"
#include "loop.h"

struct limit_watch {
        const struct sbx_launch *launch;
        struct loop *loop;
        struct watched_limit {
                int file;  /* with the counter; -1: nothing is watched */
                int ready; /* what the loop waits on: the file, or an eventfd */
                uint64_t told; /* of the counter */
                int64_t looked_ns, pause_ns;
                struct limit_watch *watch;
        } limits[2];
};

/* What can't be watched is told with the end. */
void limits_attend(struct limit_watch *w, const struct sbx_launch *launch, const struct sbx_child *child, struct loop *loop);
/* Tells what hasn't been told yet. */
void limits_end(struct limit_watch *w, const struct sbx_exit *end);
