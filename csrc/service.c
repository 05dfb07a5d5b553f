/* The life of a service: started, ready, reloading, stopping, and what each of them may take. */
#include "service.h"
#include "cache.h"
#include "events.h"
#include "health.h"
#include "manager.h"
#include "notify.h"
#include "output.h"
#include "record.h"
#include "survive.h"
#include "sys.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>

#define NS_PER_US 1000ll
#define LONGEST_US (INT64_MAX / NS_PER_US / 4) /* a bound further away than this is none */
#define SOON_NS 100000000ll
#define MORE_TIME 10 /* what EXTEND_TIMEOUT_USEC can make of a timeout: so many times as long */

/* ---- Launching ---- */

int service_survives(const struct service *v) {
        return v->survive != NULL;
}

static uint64_t number_in(char *const *environment, const char *name) {
        const char *text = cache_variable(environment, name);
        return text == NULL || *text < '0' || *text > '9' ? 0 : strtoull(text, NULL, 10);
}

/* Who watches over the supervisor has to hear of the payload: the shorter of both times holds.  The payload is ended a
 * little before the manager would end the supervisor. */
static void set_watchdog(struct service *v, const struct op_run_service *op, char *const *environment) {
        uint64_t callers = number_in(environment, "WATCHDOG_USEC"), pid = number_in(environment, "WATCHDOG_PID");
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
        if (c->service == NULL || c->launch->joined) /* a program beside the main one is none */
                return 0;
        fill_in_pid(c->service->variables[2]);
        fill_in_pid(c->service->variables[4]);
        int r = sockets_keep(c->service);
        if (r < 0)
                return r;
        return send(c->status_fd, &report, sizeof report, MSG_NOSIGNAL) < 0 ? -errno : 0;
}

/* ---- Times ---- */

static int64_t bound_in(uint64_t us) {
        return us >= LONGEST_US ? LOOP_NEVER : loop_now() + (int64_t) us * NS_PER_US;
}

/* ---- What others see ---- */

static const char *const state_names[] = {
        [SERVICE_STARTING] = "starting",
        [SERVICE_READY] = "ready",
        [SERVICE_RELOADING] = "reloading",
        [SERVICE_STOPPING] = "stopping",
};

/* Where the directory is gone there is nobody to tell. */
void service_publish(struct service *v) {
        char text[STATUS_MAX + 256];
        int directory = v->launch->record == NULL ? -1 : v->launch->record->directory_fd;
        int n = snprintf(text, sizeof text, "state=%s%cstatus=%s%csince_ns=%lld%cmain=%d%c", state_names[v->state], 0, v->status, 0,
                         (long long) v->since_ns, 0, (int) v->child->payload, 0);
        cleanup_fd int fd = directory < 0 ? -1 : openat(directory, "state.new", O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW | O_CLOEXEC, 0600);
        if (fd >= 0 && write(fd, text, (size_t) n) == n)
                renameat(directory, "state.new", directory, "state");
}

static void publish(void *owner) {
        service_publish(owner);
}

/* What is said often is told to others a little later. */
void service_publish_soon(struct service *v) {
        loop_at(&v->s->loop, loop_now() + SOON_NS, publish, v);
}

/* ---- Bounds ---- */

static void take_measures(void *owner) {
        struct service *v = owner;
        if (v->state == SERVICE_STOPPING)
                supervision_kill(v->s);
        else
                service_stop(v, 0, WITHOUT_BOUND, SBX_TIMEOUT);
}

static void set_bound(struct service *v, uint64_t us) {
        v->bound_ns = bound_in(us);
        v->last_bound_ns = us >= LONGEST_US / MORE_TIME ? LOOP_NEVER : bound_in(us * MORE_TIME);
        loop_at(&v->s->loop, v->bound_ns, take_measures, v);
}

static void lived_too_long(void *owner) {
        struct service *v = owner;
        if (v->state != SERVICE_STOPPING)
                service_stop(v, 0, WITHOUT_BOUND, SBX_TIMEOUT);
}

/* Never beyond a multiple of what the profile says: the payload isn't trusted to end. */
void service_extend(struct service *v, uint64_t us) {
        int64_t bound = bound_in(us);
        if ((v->state != SERVICE_STARTING && v->state != SERVICE_STOPPING) || v->bound_ns == LOOP_NEVER || bound <= v->bound_ns)
                return;
        v->bound_ns = bound < v->last_bound_ns ? bound : v->last_bound_ns;
        loop_at(&v->s->loop, v->bound_ns, take_measures, v);
}

/* ---- States ---- */

/* Whoever has started it in the background goes away now, and takes its standard error along. */
static void tell_ready(const struct service *v) {
        cleanup_fd int ready = v->launch->ready_fd > 0 ? v->launch->ready_fd : -1;
        cleanup_fd int nothing = ready < 0 ? -1 : open("/dev/null", O_WRONLY | O_CLOEXEC);
        if (nothing < 0 || dup2(nothing, 2) < 0)
                return;
        ssize_t n = write(ready, "", 1);
        (void) n; /* it may have gone already */
}

void service_enter(struct service *v, enum service_state state) {
        struct timespec now;
        if (v->state == SERVICE_STOPPING || v->state == state)
                return;
        int starting = v->state == SERVICE_STARTING;
        v->state = state;
        clock_gettime(CLOCK_REALTIME, &now);
        v->since_ns = now.tv_sec * 1000000000ll + now.tv_nsec;
        if (state == SERVICE_READY && starting) {
                set_bound(v, WITHOUT_BOUND);
                tell_ready(v);
                health_begin(v->health, v);
        }
        if (state == SERVICE_STOPPING)
                set_bound(v, v->op->stop_timeout_us);
        events_tell(v->launch, state_names[state], "");
        if (state == SERVICE_READY)
                service_watched(v);
        service_publish(v);
}

void service_stop(struct service *v, int number, uint64_t wait_us, uint32_t cause) {
        if (v->child->ended_for != 0) { /* to ask again gives it no less time, but where somebody says how long */
                if (wait_us < LONGEST_US && bound_in(wait_us) < v->bound_ns)
                        set_bound(v, wait_us);
                return;
        }
        v->child->ended_for = cause;
        manager_note(v->manager, MANAGER_STOPPING);
        int said_so = v->state == SERVICE_STOPPING;
        service_enter(v, SERVICE_STOPPING);
        if (said_so || wait_us != WITHOUT_BOUND)
                set_bound(v, wait_us != WITHOUT_BOUND ? wait_us : v->op->stop_timeout_us);
        loop_at(&v->s->loop, LOOP_NEVER, lived_too_long, v);
        child_signal(v->child, number > 0 ? number : (int) v->op->stop_signal);
        /* What is stopped would hear of it only when it goes on. */
        child_signal(v->child, SIGCONT);
}

void service_signal(struct service *v, int number) {
        int is_reload = v->op->reload_signal > 0 && (number == SIGHUP || (uint64_t) number == v->op->reload_signal);
        if ((uint64_t) number == v->op->stop_signal)
                service_stop(v, 0, WITHOUT_BOUND, SBX_STOPPED);
        else if (is_reload)
                child_signal(v->child, (int) v->op->reload_signal);
        else if (number == SIGTERM || number == SIGINT)
                service_stop(v, 0, WITHOUT_BOUND, SBX_STOPPED);
        else
                child_signal(v->child, number);
}

/* ---- The watchdog ---- */

/* What is paused can't say anything. */
static void hung(void *owner) {
        struct service *v = owner;
        if (service_is_paused(v))
                service_watched(v);
        else
                service_hung(v);
}

void service_watched(struct service *v) {
        if (v->watchdog_us == 0 || v->child->ended_for != 0 || v->state == SERVICE_STARTING)
                return;
        loop_at(&v->s->loop, bound_in(v->bites_after_us), hung, v);
}

/* As systemd does: SIGABRT, so that a core can tell where it hangs. Who watches over us has to wait as well. */
static void keep_alive(void *owner) {
        struct service *v = owner;
        manager_note(v->manager, MANAGER_WATCHDOG);
        loop_at(&v->s->loop, bound_in(v->watchdog_us / 2), keep_alive, v);
}

void service_hung(struct service *v) {
        service_stop(v, SIGABRT, v->op->stop_timeout_us, SBX_WATCHDOG);
        if (v->watchdog_us > 0)
                keep_alive(v);
}

/* ---- The start ---- */

static void started(struct service *v) {
        if (v->op->type == SERVICE_EXEC) {
                manager_note(v->manager, MANAGER_READY);
                service_enter(v, SERVICE_READY);
        } else
                service_publish(v);
}

/* The payload tells its id before its program runs; then the init tells that it does. How it went wrong, or how it
 * ended, is for who reaps it. */
static void take_report(void *owner, int fd, uint32_t events) {
        struct service *v = owner;
        struct report report;
        (void) events;
        ssize_t n = recv(fd, &report, sizeof report, MSG_PEEK | MSG_DONTWAIT);
        if (n < 0 && errno == EAGAIN)
                return;
        if (n != sizeof report || (report.kind != REPORT_STARTED && report.kind != REPORT_PAYLOAD)) {
                loop_remove(&v->s->loop, fd);
                if (n == 0 && !v->child->has_init)
                        started(v);
                return;
        }
        if (child_report(v->child, &report) > 0 && report.kind == REPORT_STARTED) {
                v->child->started = 1;
                started(v);
        }
}

void service_take_reports(struct service *v) {
        take_report(v, v->child->status_fd, EPOLLIN);
}

/* What the supervisor before this one has said of it. */
static void take_state(struct service *v) {
        char text[STATUS_MAX + 256];
        cleanup_fd int fd = openat(v->launch->record->directory_fd, "state", O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
        ssize_t n = fd < 0 ? -1 : read(fd, text, sizeof text - 1);
        text[n > 0 ? n : 0] = 0;
        for (const char *at = text; at < text + n; at += strlen(at) + 1) {
                for (uint32_t i = SERVICE_STARTING; i <= SERVICE_STOPPING; i++)
                        if (strncmp(at, "state=", 6) == 0 && strcmp(at + 6, state_names[i]) == 0)
                                v->state = i;
                if (strncmp(at, "status=", 7) == 0)
                        snprintf(v->status, sizeof v->status, "%s", at + 7);
                else if (strncmp(at, "since_ns=", 9) == 0)
                        v->since_ns = strtoll(at + 9, NULL, 10);
                else if (strncmp(at, "main=", 5) == 0)
                        v->child->payload = (pid_t) strtol(at + 5, NULL, 10);
        }
}

/* The new supervisor's own manager hears what it has missed. */
static void resume(struct service *v) {
        if (v->state == SERVICE_STOPPING) {
                v->child->ended_for = SBX_STOPPED;
                manager_note(v->manager, MANAGER_STOPPING);
                set_bound(v, v->op->stop_timeout_us);
                return;
        }
        manager_note(v->manager, MANAGER_READY);
        set_bound(v, WITHOUT_BOUND);
        health_begin(v->health, v);
        service_watched(v);
}

/* For one that is taken over, less than runtime_max. */
static uint64_t left_of_life(const struct service *v) {
        uint64_t most = v->op->runtime_max_us, lived = (monotonic_ns() - v->child->usage.begun_ns) / NS_PER_US;
        if (v->child->pidfd == 0 || most >= LONGEST_US)
                return most;
        return most > lived ? most - lived : 0;
}

int service_attend(struct service *v, struct supervision *s) {
        struct timespec now;
        v->s = s;
        v->child = s->child;
        clock_gettime(CLOCK_REALTIME, &now);
        v->since_ns = now.tv_sec * 1000000000ll + now.tv_nsec;
        int r = loop_add(&s->loop, v->child->status_fd, EPOLLIN, take_report, v);
        if (r >= 0)
                r = manager_attend(v->manager, s);
        if (r >= 0)
                r = notify_attend(v->notify, v);
        if (r >= 0)
                r = output_attend(v->output, v);
        if (r < 0)
                return r;
        sockets_release(v);
        survive_attend(v->survive);
        if (v->child->pidfd > 0)
                take_state(v);
        set_bound(v, v->op->start_timeout_us);
        loop_at(&s->loop, bound_in(left_of_life(v)), lived_too_long, v);
        service_publish(v);
        if (v->child->pidfd > 0 && v->state != SERVICE_STARTING)
                resume(v);
        else if (v->child->started)
                started(v);
        return 0;
}

/* What it has said at last may be on its way yet. */
void service_end(struct service *v) {
        health_end(v->health);
        if (v->notify != NULL)
                notify_take(v->notify);
        if (v->op->type == SERVICE_EXEC && v->state == SERVICE_STARTING && v->child->started)
                manager_note(v->manager, MANAGER_READY); /* it was too short for anyone to look */
        manager_flush(v->manager);
        output_end(v->output);
}

void service_free(struct service *v) {
        if (v == NULL)
                return;
        health_free(v->health);
        survive_free(v->survive);
        notify_free(v->notify);
        manager_free(v->manager);
        output_free(v->output);
        free(v->socket_names);
        free(v);
}
