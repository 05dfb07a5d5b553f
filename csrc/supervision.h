/* What the parts of a supervisor share while a sandbox lives. */
#pragma once
#include "executor.h"
#include "limit_watch.h"
#include "loop.h"

#include <signal.h>
#include <sys/syscall.h>
#include <unistd.h>

#define CONTROL_CONNECTIONS 64u

struct supervision {
        const struct sbx_launch *launch;
        struct sbx_child *child;
        struct loop loop;
        struct limit_watch limits;
        struct connection {
                int fd; /* of the control socket; -1: free */
                int waits; /* for the end */
        } connections[CONTROL_CONNECTIONS];
};

/* By its pidfd where it isn't our child: its number may be another's by now. */
static inline void child_signal(const struct sbx_child *child, int number) {
        if (child->pidfd > 0)
                syscall(SYS_pidfd_send_signal, child->pidfd, number, NULL, 0);
        else
                kill(child->pid, number);
}

/* Ends everything in the sandbox at once. */
void supervision_kill(struct supervision *s);
