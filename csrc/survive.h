/* A payload that outlives its supervisor: service.survive of the profile.
 *
 * The init holds what a supervisor needs, and a socket in the sandbox's directory on which it hands that to the next
 * one: RUNTIME/NAME/adopt, which only the directory's owner can reach.  It gives to one at a time: who has it holds a
 * connection, its leash, and whose leash has ended is gone.  As the init holds the directory, with the lock that tells
 * of life, the name stays taken.  RUNTIME/NAME/end gets the init's last report, for when nobody listens. */
#pragma once
#include "context.h"

enum survive_kept {
        KEPT_STATUS,    /* the supervisor's end of the status channel */
        KEPT_DIRECTORY,
        KEPT_PLAN,
        KEPT_NOTIFY,
        KEPT_STDOUT,
        KEPT_STDERR,
        KEPT_COUNT,
};

struct survive {
        int listener, leash, end; /* the init's */
        int our_leash;            /* the first supervisor's */
};

/* What goes with the descriptors: bit i of `present` for the i-th kind. */
#define SURVIVE_VERSION 1u
struct survive_message {
        uint32_t version, present;
};

#define SURVIVE_MAX (KEPT_COUNT + 3)
/* ---- In the sandbox's first process: async-signal-safe; `s` NULL for a payload that doesn't survive ---- */

void survive_enter(struct survive *s);
uint32_t survive_descriptors(const struct context *c, int fds[SURVIVE_MAX]);
void survive_listen(const struct survive *s);
void survive_serve(const struct context *c);
/* The payload has ended so. */
void survive_end(const struct survive *s, int status);

/* ---- In the supervisor ---- */

void survive_attend(struct survive *s);
void survive_free(struct survive *s);
