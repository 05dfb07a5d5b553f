/* Programs that the init starts beside the payload, for who asks it to over the control socket (control.h).
 *
 * Their processes carry out the very ops that the payload's did after StartInit, so no layer can differ.  The
 * connection is theirs: struct control_request, then a call as of serve.h; back come the reports, first
 * REPORT_LAUNCHED with the pidfd, last struct serve_end.  Who hangs up before the end kills the program. */
#pragma once
#include "context.h"

#include <sys/resource.h>

#define JOINED_MAX 64u

struct joined {
        const struct plan_record *from; /* the op that the payload's process began with, and its index */
        uint32_t index;
        struct {
                pid_t pid;
                int fd; /* -1: free */
        } programs[JOINED_MAX];
};

void joined_prepare(struct joined *j, const struct plan_record *from, uint32_t index);

/* Has a signal come, SIGIO, whenever somebody asks or hangs up. */
void joined_listen(const struct context *c);

/* Takes what has come. */
void joined_serve(struct joined *j, struct context *c);

/* A child of the init's has ended: says so to who has asked for it. */
void joined_ended(struct joined *j, pid_t pid, int status, const struct rusage *usage);
