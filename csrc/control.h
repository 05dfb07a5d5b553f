/* The socket by which others talk to a live sandbox's supervisor: SOCK_SEQPACKET, one request a connection.
 *
 * Who connects may be root or the supervisor's own user only.  What follows a request is its own affair: a connection
 * that asks for `exec` goes on to the sandbox's init, one that waits for the end stays here. */
#pragma once
#include "loop.h"
#include "supervision.h"

#define CONTROL_VERSION 1u

enum control_verb {
        CONTROL_EXEC = 1, /* another program in the sandbox; the rest of the talk is with its init */
        CONTROL_WAIT = 2, /* answered by struct control_end when it has ended */
        CONTROL_STOP = 3, /* `signal` to the payload, and the end of everything `value` milliseconds later; then as WAIT.
                           * 0 and CONTROL_DEFAULT: SIGTERM and 10 seconds, or what a service's profile says */
};
#define CONTROL_DEFAULT UINT64_MAX
/* The value of an exec: standard streams that become a new terminal; words that are for the probe (probe.h). */
#define CONTROL_TERMINAL 7u
#define CONTROL_PROBE 8u

struct control_request {
        uint32_t version, verb;
        uint32_t signal;
        uint32_t window; /* of the terminal of an exec: rows << 16 | columns; 0: not known */
        uint64_t value;
};

/* The last thing that a waiting connection hears. */
struct control_end {
        uint32_t version;
        int32_t status; /* as wait4(2) gives it */
        struct sbx_failure failure;
        struct sbx_exit end; /* all of it, for those who know this version's */
};

int control_open(struct supervision *s);
/* Tells all that wait. */
void control_close(struct supervision *s, const struct sbx_exit *end);
