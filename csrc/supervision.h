/* What the parts of a supervisor share while a sandbox lives. */
#pragma once
#include "executor.h"
#include "loop.h"

#define CONTROL_CONNECTIONS 64u

struct supervision {
        const struct sbx_launch *launch;
        struct sbx_child *child;
        struct loop loop;
        struct connection {
                int fd; /* of the control socket; -1: free */
                int waits; /* for the end */
        } connections[CONTROL_CONNECTIONS];
};

/* Ends everything in the sandbox at once. */
void supervision_kill(struct supervision *s);
