/* Talks to whoever started the supervisor as a service: NOTIFY_SOCKET of sd_notify(3).
 *
 * What is to be said waits where the other side is slow or the payload says too much; then newer words take the place
 * of older ones, and a state is never lost. */
#pragma once
#include "supervision.h"

#include <stdint.h>

struct manager;

enum manager_word {
        MANAGER_READY = 1,
        MANAGER_RELOADING = 2,
        MANAGER_STOPPING = 4,
        MANAGER_WATCHDOG = 8,
};

/* All of these take NULL for nobody to talk to. */

/* *ret is NULL where the environment names none.  -EINVAL for an address of another kind. */
int manager_open(char *const *environment, struct manager **ret);
/* Whether a service manager has started this very process as a unit's, and listens to it: systemd.exec(5). */
int manager_awaits(char *const *environment);
void manager_free(struct manager *m);
int manager_attend(struct manager *m, struct supervision *s);
void manager_note(struct manager *m, enum manager_word word);
void manager_status(struct manager *m, const char *text);
void manager_error(struct manager *m, uint32_t number);
void manager_bus_error(struct manager *m, const char *name);
void manager_extend(struct manager *m, uint64_t us);
/* Hands descriptors over to be stored, or has some removed; they are its own then.  -EAGAIN: too many wait already. */
int manager_store(struct manager *m, const char *text, const int *fds, uint32_t count);
/* Closes fd once all before it has been taken in. */
void manager_barrier(struct manager *m, int fd);
/* Sends what waits, as far as the other side takes it. */
void manager_flush(struct manager *m);
/* The same at the end: what the payload has stored is given some time. */
void manager_end(struct manager *m);
