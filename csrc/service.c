/* The life of a service: started, ready, reloading, stopping, and what each of them may take. */
#include "service.h"
#include "events.h"
#include "fields.h"
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

#define SOON_NS 100000000ll
#define MORE_TIME 10 /* what EXTEND_TIMEOUT_USEC can make of a timeout: so many times as long */

int service_survives(const struct service *v) {
        return v->survive != NULL;
}

/* ---- What others see ---- */

static const char *const state_names[] = {
        [SERVICE_STARTING] = "starting",
        [SERVICE_READY] = "ready",
        [SERVICE_RELOADING] = "reloading",
        [SERVICE_STOPPING] = "stopping",
};

/* Where the directory is gone there is nobody to tell. */
void service_tell(const struct service *v, const char *file, const char *text, size_t size) {
        const struct sbx_record *record = v->launch->record;
        if (record != NULL && record->directory_fd >= 0)
                fields_replace(record->directory_fd, file, text, size);
}

void service_publish(struct service *v) {
        char text[STATUS_MAX + 256];
        int n = snprintf(text, sizeof text, "state=%s%cstatus=%s%csince_ns=%lld%cmain=%d%c", state_names[v->state], 0, v->status, 0,
                         (long long) v->since_ns, 0, (int) v->child->payload, 0);
        service_tell(v, "state", text, (size_t) n);
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
        v->bound_ns = loop_after(us);
        v->last_bound_ns = us >= LOOP_LONGEST_US / MORE_TIME ? LOOP_NEVER : loop_after(us * MORE_TIME);
        loop_at(&v->s->loop, v->bound_ns, take_measures, v);
}

static void lived_too_long(void *owner) {
        struct service *v = owner;
        if (v->state != SERVICE_STOPPING)
                service_stop(v, 0, WITHOUT_BOUND, SBX_TIMEOUT);
}

/* Never beyond a multiple of what the profile says: the payload isn't trusted to end. */
void service_extend(struct service *v, uint64_t us) {
        int64_t bound = loop_after(us);
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
        if (v->state == SERVICE_STOPPING || v->state == state)
                return;
        int starting = v->state == SERVICE_STARTING;
        v->state = state;
        v->since_ns = realtime_ns();
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
                if (wait_us < LOOP_LONGEST_US && loop_after(wait_us) < v->bound_ns)
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
        loop_at(&v->s->loop, loop_after(v->bites_after_us), hung, v);
}

/* As systemd does: SIGABRT, so that a core can tell where it hangs. Who watches over us has to wait as well. */
static void keep_alive(void *owner) {
        struct service *v = owner;
        manager_note(v->manager, MANAGER_WATCHDOG);
        loop_at(&v->s->loop, loop_after(v->watchdog_us / 2), keep_alive, v);
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
        if (n < 0 && (errno == EAGAIN || errno == EINTR))
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
        ssize_t n = fields_read(v->launch->record->directory_fd, "state", text, sizeof text);
        const char *state = field_of(text, n, "state"), *status = field_of(text, n, "status");
        const char *since = field_of(text, n, "since_ns"), *main_pid = field_of(text, n, "main");
        for (uint32_t i = SERVICE_STARTING; i <= SERVICE_STOPPING; i++)
                if (state != NULL && strcmp(state, state_names[i]) == 0)
                        v->state = i;
        if (status != NULL)
                snprintf(v->status, sizeof v->status, "%s", status);
        if (since != NULL)
                v->since_ns = strtoll(since, NULL, 10);
        if (main_pid != NULL)
                v->child->payload = (pid_t) strtol(main_pid, NULL, 10);
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
        uint64_t most = v->op->runtime_max_us, lived = (monotonic_ns() - v->child->usage.begun_ns) / 1000;
        if (v->child->pidfd == 0 || most >= LOOP_LONGEST_US)
                return most;
        return most > lived ? most - lived : 0;
}

int service_attend(struct service *v, struct supervision *s) {
        v->s = s;
        v->child = s->child;
        v->since_ns = realtime_ns();
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
        loop_at(&s->loop, loop_after(left_of_life(v)), lived_too_long, v);
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
        notify_end(v->notify);
        if (v->op->type == SERVICE_EXEC && v->state == SERVICE_STARTING && v->child->started)
                manager_note(v->manager, MANAGER_READY); /* it was too short for anyone to look */
        manager_end(v->manager);
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
