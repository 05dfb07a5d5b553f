/* Whether a service does its work: service.health of the profile.
 *
 * A check runs in the sandbox, started by its init as a program of `sbx exec` is, so it is under every layer that the
 * payload is under.  The supervisor waits for it in its loop.  The file `health` in the sandbox's directory holds
 * key=value, a NUL behind each, replaced as a whole: state, since_ns, failures, reason. */
#pragma once
#include "service.h"

enum health_state {
        HEALTH_STARTING,
        HEALTH_HEALTHY,
        HEALTH_UNHEALTHY,
};

/* All of these take NULL for a service without checks. */

/* The service has been started: from now on it is looked at. */
void health_begin(struct health *h, struct service *v);
void health_end(struct health *h);
void health_free(struct health *h);
