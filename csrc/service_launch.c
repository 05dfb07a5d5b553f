/* A service before it is attended to: what its launch prepares, its variables, and the payload's first words. */
#include "cache.h"
#include "manager.h"
#include "notify.h"
#include "record.h"
#include "service.h"
#include "sys.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

/* Who watches over the supervisor has to hear of the payload: the shorter of both times holds.  The payload is ended a
 * little before the manager would end the supervisor. */
static void set_watchdog(struct service *v, const struct op_run_service *op, char *const *environment) {
        uint64_t callers = cache_number(environment, "WATCHDOG_USEC"), pid = cache_number(environment, "WATCHDOG_PID");
        if (op->type != SERVICE_NOTIFY || (pid != 0 && pid != (uint64_t) getpid()))
                callers = 0;
        uint64_t early = callers - callers / 8;
        int has_both = op->watchdog_us > 0 && callers > 0;
        v->watchdog_us = has_both && callers < op->watchdog_us ? callers : op->watchdog_us > 0 ? op->watchdog_us : callers;
        v->bites_after_us = callers > 0 && early < v->watchdog_us ? early : v->watchdog_us;
}

/* Without a record it is a launch that somebody else attends to in a way of their own: sbx run --explain, the library. */
int prepare_run_service(struct context *c, const void *payload) {
        const struct op_run_service *op = payload;
        struct sbx_record *record = c->launch->record;
        if (record == NULL)
                return 0;
        c->at.stage = STAGE_RECORD;
        int r = record->directory_fd >= 0 ? 0 : record_claim(c->launch);
        if (r < 0)
                return r;
        c->at.stage = STAGE_PREPARE;
        struct service *v = calloc(1, sizeof *v);
        if (v == NULL)
                return -ENOMEM;
        v->op = op;
        v->launch = c->launch;
        set_watchdog(v, op, c->launch->environment);
        c->service = v;
        int is_awaited = op->type == SERVICE_NOTIFY || manager_awaits(c->launch->environment);
        return is_awaited ? manager_open(c->launch->environment, &v->manager) : 0;
}

/* The payload's own id is filled in when it has one. */
#define PID_ROOM "          "

uint32_t service_variables(const struct context *c, char **environment) {
        struct service *v = c->service;
        uint32_t n = 0;
        if (v == NULL)
                return 0;
        if (v->notify != NULL) {
                snprintf(v->variables[0], SERVICE_VARIABLE_MAX, "NOTIFY_SOCKET=%s", notify_path(v->notify));
                environment[n++] = v->variables[0];
        }
        if (v->watchdog_us > 0) {
                snprintf(v->variables[1], SERVICE_VARIABLE_MAX, "WATCHDOG_USEC=%llu", (unsigned long long) v->watchdog_us);
                strcpy(v->variables[2], "WATCHDOG_PID=" PID_ROOM);
                environment[n++] = v->variables[1];
                environment[n++] = v->variables[2];
        }
        if (v->socket_count > 0) {
                snprintf(v->variables[3], SERVICE_VARIABLE_MAX, "LISTEN_FDS=%u", v->socket_count);
                strcpy(v->variables[4], "LISTEN_PID=" PID_ROOM);
                environment[n++] = v->variables[3];
                environment[n++] = v->variables[4];
                environment[n++] = v->socket_names;
        }
        return n;
}

/* Async-signal-safe, as all between clone and exec. */
static void fill_in_pid(char *variable) {
        char digits[12], *end = digits + sizeof digits, *at = strchr(variable, '=');
        if (at == NULL)
                return;
        *--end = 0;
        for (pid_t pid = getpid(); pid > 0; pid /= 10)
                *--end = (char) ('0' + pid % 10);
        memcpy(at + 1, end, (size_t) (digits + sizeof digits - end));
}

/* The kernel tells the supervisor whose words these are, by its own numbers.  A program beside the main one is none. */
int perform_announce_payload(struct context *c, const void *payload) {
        struct report report = { .kind = REPORT_PAYLOAD };
        (void) payload;
        if (c->service == NULL || c->launch->joined)
                return 0;
        fill_in_pid(c->service->variables[2]);
        fill_in_pid(c->service->variables[4]);
        int r = sockets_keep(c->service);
        if (r < 0)
                return r;
        return send(c->status_fd, &report, sizeof report, MSG_NOSIGNAL) < 0 ? -errno : 0;
}
