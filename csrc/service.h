/* What a supervisor does for a payload that is a service: [service] of the profile.
 *
 * It exists only where the plan has RunService; nothing here is on the way of any other launch.  Its directory in the
 * runtime directory holds
 *
 *   state    key=value, a NUL behind each, replaced as a whole: state, status, since_ns, main
 *   notify   the socket that the payload sees as NOTIFY_SOCKET (notify.h) */
#pragma once
#include "context.h"
#include "supervision.h"

#define STATUS_MAX 256 /* bytes of STATUS= that are kept */
#define WITHOUT_BOUND UINT64_MAX
#define SERVICE_VARIABLE_MAX 128

struct notify;
struct manager;
struct output;
struct health;
struct survive;

enum service_state {
        SERVICE_STARTING,
        SERVICE_READY,
        SERVICE_RELOADING,
        SERVICE_STOPPING,
};

struct service {
        const struct op_run_service *op;
        const struct sbx_launch *launch;
        struct supervision *s;   /* NULL before the sandbox is attended to */
        struct sbx_child *child;
        enum service_state state;
        char status[STATUS_MAX];
        int64_t since_ns;        /* of the state, CLOCK_REALTIME */
        int64_t bound_ns;        /* of the state's timeout, and the latest that it may be moved to */
        int64_t last_bound_ns;
        uint64_t watchdog_us;    /* as the payload knows it; 0: none */
        uint64_t bites_after_us;
        struct manager *manager; /* NULL: nobody has to be told */
        struct survive *survive; /* NULL: it ends with its supervisor */
        struct health *health;   /* NULL: nobody looks after it */
        struct notify *notify;   /* NULL: the payload has no NOTIFY_SOCKET */
        struct output *output;   /* NULL: the payload writes to where the supervisor does */
        uint32_t socket_count;   /* descriptors from 3 on, for the payload */
        char *socket_names;      /* LISTEN_FDNAMES=... */
        char variables[5][SERVICE_VARIABLE_MAX];
};

/* ---- Launching: called by the executor (service_launch.c) ---- */

void service_free(struct service *v);

/* ---- Attending: called by the supervisor ---- */

int service_survives(const struct service *v);
int service_attend(struct service *v, struct supervision *s);
void service_end(struct service *v);
/* SIGTERM, SIGINT and SIGHUP are requests to the service; the rest goes to the payload. */
void service_signal(struct service *v, int number);
/* `number` 0: the profile's; `wait_us` WITHOUT_BOUND: the profile's own timeout. cause is of enum sbx_cause. */
void service_stop(struct service *v, int number, uint64_t wait_us, uint32_t cause);
/* What the payload says of itself. */
void service_enter(struct service *v, enum service_state state);
void service_extend(struct service *v, uint64_t us);
void service_watched(struct service *v);
void service_hung(struct service *v);
/* Says it to others: a file in its directory, replaced as a whole; the state file; the same a little later. */
void service_tell(const struct service *v, const char *file, const char *text, size_t size);
void service_publish(struct service *v);
void service_publish_soon(struct service *v);
/* sockets.c */
int sockets_keep(const struct service *v);
void sockets_release(struct service *v);
/* Whether `sbx pause` has stopped it (health.c). */
int service_is_paused(const struct service *v);
/* Takes what the sandbox has told of its start. */
void service_take_reports(struct service *v);
