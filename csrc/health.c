/* Checks a service again and again, one check at a time. */
#include "health.h"
#include "control.h"
#include "events.h"
#include "fields.h"
#include "manager.h"
#include "probe.h"
#include "record.h"
#include "serve.h"
#include "sys.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>

#define REASON_MAX 256 /* bytes of what a check says at last that are kept */
#define OUTPUT_TURN 16 /* reads of it at once */
#define SETTLING_NS 1000000000ll /* between checks of a service that is still starting */
#define NS_PER_US 1000ll

struct health {
        const struct op_check_health *op;
        const struct plan *plan;
        struct service *v; /* NULL before it is looked at */
        enum health_state state;
        uint64_t failures; /* in a row */
        char reason[REASON_MAX];
        int64_t begun_ns;  /* CLOCK_MONOTONIC */
        int64_t since_ns;  /* of the state, CLOCK_REALTIME */
        int connection;    /* of the check at hand; -1: there is none */
        int output;        /* what it writes */
        char tail[REASON_MAX];
        size_t tail_size;
        int null_fd;
};

static void check(void *owner);

/* ---- Launching ---- */

int prepare_check_health(struct context *c, const void *payload) {
        if (c->service == NULL)
                return 0;
        struct health *h = calloc(1, sizeof *h);
        if (h == NULL)
                return -ENOMEM;
        h->op = payload;
        h->plan = c->plan;
        h->connection = h->output = -1;
        c->service->health = h;
        h->null_fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
        return h->null_fd < 0 ? -errno : 0;
}

static void hang_up(struct health *h) {
        if (h->v != NULL) {
                loop_remove(&h->v->s->loop, h->connection);
                loop_remove(&h->v->s->loop, h->output);
        }
        close_fd(&h->connection);
        close_fd(&h->output);
}

void health_free(struct health *h) {
        if (h == NULL)
                return;
        close_fd(&h->connection);
        close_fd(&h->output);
        close_fd(&h->null_fd);
        free(h);
}

/* ---- What others see ---- */

static const char *const state_names[] = {
        [HEALTH_STARTING] = "starting",
        [HEALTH_HEALTHY] = "healthy",
        [HEALTH_UNHEALTHY] = "unhealthy",
};

static void publish(const struct health *h) {
        char text[REASON_MAX + 256];
        int n = snprintf(text, sizeof text, "state=%s%csince_ns=%lld%cfailures=%llu%creason=%s%c", state_names[h->state], 0,
                         (long long) h->since_ns, 0, (unsigned long long) h->failures, 0, h->reason, 0);
        service_tell(h->v, "health", text, (size_t) n);
}

static void enter(struct health *h, enum health_state state) {
        char status[REASON_MAX + 32];
        h->since_ns = realtime_ns();
        h->state = state;
        if (state == HEALTH_STARTING)
                return;
        events_tell_reason(h->v->launch, state_names[state], h->reason);
        snprintf(status, sizeof status, "%s%s%s", state_names[state], *h->reason != 0 ? ": " : "", h->reason);
        manager_status(h->v->manager, status);
        manager_flush(h->v->manager);
}

/* ---- A check's end ---- */

static int is_ending(const struct health *h) {
        return h->v->state == SERVICE_STOPPING || h->v->child->ended_for != 0;
}

/* `sbx pause` leaves its mark, and somebody else may have let it go on: sandbox/live/records.py reads it as well. */
int service_is_paused(const struct service *v) {
        const struct sbx_record *record = v->launch->record;
        char mark[PATH_MAX + 256], path[PATH_MAX + 256], now[64];
        ssize_t n = record == NULL || record->directory_fd < 0 ? -1 : fields_read(record->directory_fd, "paused", mark, sizeof mark);
        const char *directory = n < 0 ? NULL : field_of(mark, n, "path"), *file = n < 0 ? NULL : field_of(mark, n, "file");
        const char *thawed = n < 0 ? NULL : field_of(mark, n, "thawed");
        if (directory == NULL || file == NULL || thawed == NULL)
                return 0;
        snprintf(path, sizeof path, "%s/%s", directory, file);
        if (fields_read(AT_FDCWD, path, now, sizeof now) < 0)
                return 0;
        now[strcspn(now, " \t\r\n")] = 0;
        return strcmp(now, thawed) != 0;
}

static int is_settling(const struct health *h) {
        uint64_t since_us = (uint64_t) (loop_now() - h->begun_ns) / NS_PER_US;
        return h->state == HEALTH_STARTING && since_us < h->op->start_period_us;
}

static void check_later(struct health *h) {
        int64_t due = loop_after(h->op->interval_us), soon = loop_now() + SETTLING_NS;
        if (!is_ending(h))
                loop_at(&h->v->s->loop, is_settling(h) && soon < due ? soon : due, check, h);
}

static void timed_out(void *owner);

static void conclude(struct health *h, const char *reason) {
        struct health before = *h;
        hang_up(h);
        loop_at(&h->v->s->loop, LOOP_NEVER, timed_out, h);
        if (is_ending(h))
                return;
        if (!service_is_paused(h->v)) {
                snprintf(h->reason, sizeof h->reason, "%s", reason == NULL ? "" : reason);
                h->failures = reason == NULL || is_settling(h) ? 0 : h->failures + 1;
                if (reason == NULL && h->state != HEALTH_HEALTHY)
                        enter(h, HEALTH_HEALTHY);
                else if (h->failures >= h->op->retries && h->state != HEALTH_UNHEALTHY)
                        enter(h, HEALTH_UNHEALTHY);
        }
        if (before.state != h->state || before.failures != h->failures || strcmp(before.reason, h->reason) != 0)
                publish(h);
        if (h->state == HEALTH_UNHEALTHY && h->op->action == HEALTH_STOP)
                service_stop(h->v, 0, WITHOUT_BOUND, SBX_UNHEALTHY);
        else
                check_later(h);
}

static void timed_out(void *owner) {
        struct health *h = owner;
        char reason[REASON_MAX];
        snprintf(reason, sizeof reason, "the check took longer than %g s", (double) h->op->timeout_us / 1e6);
        conclude(h, reason);
}

/* ---- Words ---- */

static void words_of_probe(const struct probe_result *result, char reason[REASON_MAX]) {
        static const char *const steps[] = {
                [PROBE_WORDS] = "the check can't be carried out",
                [PROBE_SOCKET] = "no socket can be made",
                [PROBE_CONNECT] = "no connection",
                [PROBE_SEND] = "the request can't be sent",
                [PROBE_ANSWER] = "no answer of HTTP",
        };
        if (result->step == PROBE_STATUS)
                snprintf(reason, REASON_MAX, "the answer's status is %u", result->status);
        else if (result->step >= PROBE_WORDS && result->step <= PROBE_ANSWER)
                snprintf(reason, REASON_MAX, "%s%s%s", steps[result->step], result->error != 0 ? ": " : "",
                         result->error != 0 ? strerror(result->error) : "");
}

/* It is shown to people and to systemd, and was written by who isn't trusted: one line of printable characters. */
static void last_line(struct health *h, char reason[REASON_MAX]) {
        size_t end = h->tail_size, from;
        while (end > 0 && (h->tail[end - 1] == '\n' || h->tail[end - 1] == ' '))
                end--;
        for (from = end; from > 0 && h->tail[from - 1] != '\n';)
                from--;
        if (end == from)
                return;
        size_t n = strlen(reason);
        n += (size_t) snprintf(reason + n, REASON_MAX - n, ": ");
        for (; from < end && n < REASON_MAX - 1; from++)
                reason[n++] = h->tail[from] >= ' ' && h->tail[from] <= '~' ? h->tail[from] : '?';
        reason[n] = 0;
}

static void take_output(struct health *h) {
        char chunk[REASON_MAX];
        ssize_t n = 0;
        for (int i = 0; i < OUTPUT_TURN && (n = read(h->output, chunk, sizeof chunk)) > 0; i++) {
                size_t size = (size_t) n, kept = h->tail_size + size > REASON_MAX ? REASON_MAX - size : h->tail_size;
                memmove(h->tail, h->tail + h->tail_size - kept, kept);
                memcpy(h->tail + kept, chunk, size);
                h->tail_size = kept + size;
        }
        if (n == 0)
                loop_remove(&h->v->s->loop, h->output);
}

static void conclude_by_status(struct health *h, int status) {
        char reason[REASON_MAX];
        struct probe_result result;
        take_output(h);
        if (WIFSIGNALED(status))
                snprintf(reason, sizeof reason, "the check was killed by signal %d", WTERMSIG(status));
        else
                snprintf(reason, sizeof reason, "the check ended with %d", WEXITSTATUS(status));
        if (h->op->kind == HEALTH_COMMAND)
                last_line(h, reason);
        else if (h->tail_size == sizeof result) {
                memcpy(&result, h->tail, sizeof result);
                words_of_probe(&result, reason);
        }
        conclude(h, status == 0 ? NULL : reason);
}

/* ---- A check's course ---- */

union answer {
        uint32_t kind;
        struct report report;
        struct serve_end end;
};

/* A pidfd comes along that isn't needed: a check ends when its connection does. */
static ssize_t hear(int from, union answer *ret) {
        cleanup_fd int pidfd = -1;
        ssize_t n = receive_with_fd(from, ret, sizeof *ret, &pidfd, MSG_DONTWAIT);
        return n < 0 ? -errno : n;
}

static void answered(void *owner, int fd, uint32_t events) {
        struct health *h = owner;
        union answer answer;
        char reason[REASON_MAX];
        (void) events;
        ssize_t n = hear(fd, &answer);
        if (n == -EAGAIN)
                return;
        if (n < (ssize_t) sizeof answer.report) {
                conclude(h, "the sandbox started no check");
                return;
        }
        if (answer.kind == REPORT_FAILED) {
                snprintf(reason, sizeof reason, "the check can't be started: %s", strerror(answer.report.failure.error));
                conclude(h, reason);
        } else if (answer.kind == REPORT_ENDED && n == sizeof answer.end)
                conclude_by_status(h, answer.end.status);
}

static void written(void *owner, int fd, uint32_t events) {
        (void) fd;
        (void) events;
        take_output(owner);
}

/* The request and the call wait in the socket before the init gets its end. */
static int send_call(const struct health *h, int to, int output) {
        static const int32_t numbers[3] = { 0, 1, 2 };
        struct control_request request = { .version = CONTROL_VERSION, .verb = CONTROL_EXEC };
        struct serve_call call = { .magic = CALL_MAGIC, .words = h->op->words.len, .descriptors = 3 };
        const struct plan_ref *words = plan_list(h->plan, h->op->words);
        char strings[CALL_MAX_MESSAGE / 2] = ""; /* first the working directory: the profile's */
        int fds[3] = { h->null_fd, output, output };
        call.size = 1;
        for (uint32_t i = 0; i < h->op->words.len; i++) {
                if (words[i].len >= sizeof strings - call.size)
                        return -E2BIG;
                memcpy(strings + call.size, plan_string(h->plan, words[i]), words[i].len + 1u);
                call.size += words[i].len + 1;
        }
        struct iovec parts[] = { { &call, sizeof call }, { (void *) (uintptr_t) numbers, sizeof numbers }, { strings, call.size } };
        request.value = h->op->kind == HEALTH_COMMAND ? 0 : CONTROL_PROBE;
        if (send(to, &request, sizeof request, MSG_NOSIGNAL | MSG_DONTWAIT) < 0)
                return -errno;
        return send_with_fds(to, parts, 3, fds, 3, MSG_DONTWAIT) < 0 ? -errno : 0;
}

static int start(struct health *h) {
        struct report report = { .kind = REPORT_CALLER };
        int ends[2], pipes[2];
        if (pipe2(pipes, O_CLOEXEC) < 0)
                return -errno;
        h->output = pipes[0];
        cleanup_fd int writer = pipes[1];
        if (fcntl(h->output, F_SETFL, O_NONBLOCK) < 0 || socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) < 0)
                return -errno;
        h->connection = ends[0];
        cleanup_fd int theirs = ends[1];
        h->tail_size = 0;
        int r = send_call(h, h->connection, writer);
        if (r >= 0)
                r = loop_add(&h->v->s->loop, h->connection, EPOLLIN, answered, h);
        if (r >= 0)
                r = loop_add(&h->v->s->loop, h->output, EPOLLIN, written, h);
        if (r >= 0)
                r = loop_at(&h->v->s->loop, loop_after(h->op->timeout_us), timed_out, h);
        if (r >= 0 && send_with_fd(h->v->child->status_fd, &report, sizeof report, theirs) < 0)
                r = -errno;
        return r;
}

static void check(void *owner) {
        struct health *h = owner;
        char reason[REASON_MAX];
        if (is_ending(h))
                return;
        if (service_is_paused(h->v)) {
                check_later(h);
                return;
        }
        int r = start(h);
        if (r >= 0)
                return;
        snprintf(reason, sizeof reason, "the check can't be started: %s", strerror(-r));
        conclude(h, reason);
}

void health_begin(struct health *h, struct service *v) {
        if (h == NULL || h->v != NULL)
                return;
        h->v = v;
        h->begun_ns = loop_now();
        enter(h, HEALTH_STARTING);
        publish(h);
        int64_t due = loop_after(h->op->interval_us), soon = loop_now() + SETTLING_NS;
        loop_at(&v->s->loop, soon < due ? soon : due, check, h);
}

void health_end(struct health *h) {
        if (h != NULL)
                hang_up(h);
}
