/* PID 1 of the sandbox: reaps whatever is left to it, hands signals on, and ends when the payload does. */
#include "context.h"
#include "joined.h"
#include "serve.h"
#include "service.h"
#include "survive.h"
#include "sys.h"

#include <limits.h>
#include <sys/wait.h>

static void tell(const struct context *c, uint32_t kind, int status) {
        struct report report = { .kind = kind, .status = status };
        ssize_t n = write(c->status_fd, &report, sizeof report);
        (void) n; /* without a supervisor the death signal is on its way */
}

/* With what all its children have used: who asked for a served launch waits for no other report. */
static void tell_end(const struct context *c, int status) {
        struct rusage usage;
        if (!c->launch->served || getrusage(RUSAGE_CHILDREN, &usage) < 0) {
                tell(c, REPORT_ENDED, status);
                return;
        }
        struct serve_end end = end_of(REPORT_ENDED, status, &usage);
        ssize_t n = write(c->status_fd, &end, sizeof end);
        (void) n;
}

static void close_range_between(int below, int above) {
        if (above - below > 1)
                sys_close_range((unsigned) below + 1, above == INT_MAX ? ~0u : (unsigned) above - 1, 0);
}

static void add_in_order(int *fds, uint32_t *count, int fd) {
        uint32_t at = *count;
        if (fd < 0)
                return;
        for (; at > 0 && fds[at - 1] > fd; at--)
                fds[at] = fds[at - 1];
        fds[at] = fd;
        (*count)++;
}

/* What a program that starts later needs stays: the way to the supervisor, and the Landlock rules; and what the next
 * supervisor needs, where the payload survives this one. */
static void close_others(const struct context *c) {
        int kept[SURVIVE_MAX + 2], others[SURVIVE_MAX], below = -1;
        uint32_t count = 0, n = survive_descriptors(c, others);
        add_in_order(kept, &count, c->status_fd);
        add_in_order(kept, &count, c->ruleset_fd);
        for (uint32_t i = 0; i < n; i++)
                add_in_order(kept, &count, others[i]);
        for (uint32_t i = 0; i < count; i++) {
                close_range_between(below, kept[i]);
                below = kept[i];
        }
        close_range_between(below, INT_MAX);
}

/* Those that the payload sets itself, since it opens files on its way. */
static void limit_itself(struct context *c, const struct plan_record *from, uint32_t index) {
        for (; index < c->plan->header->op_count; index++, from = plan_next(from)) {
                int r = from->kind == PLAN_SetRlimit ? perform_set_rlimit(c, plan_payload(from)) : 0;
                if (r < 0) {
                        c->at.op = index;
                        report_and_exit(c, r);
                }
        }
}

static const struct survive *survive_of(const struct context *c) {
        return c->service == NULL ? NULL : c->service->survive;
}

static void reap(const struct context *c, pid_t payload, struct joined *joined) {
        struct rusage usage;
        int status;
        pid_t pid;
        while ((pid = wait4(-1, &status, WNOHANG | __WALL, &usage)) > 0) {
                if (pid == payload) {
                        survive_end(survive_of(c), status);
                        tell_end(c, status);
                        _exit(WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status));
                }
                joined_ended(joined, pid, status, &usage);
        }
}

/* A signal that somebody has sent, and not a descriptor's. */
static int is_sent(const siginfo_t *info) {
        return info->si_signo != SIGCHLD && (info->si_signo != SIGIO || info->si_code <= 0);
}

/* A short program ends before anybody could ask for another beside it: the init listens for that only when a moment
 * has passed, as its supervisor is recorded then.  By the clock, so that a busy program can't put it off. */
void run_init(struct context *c, pid_t payload, const struct plan_record *from, uint32_t index) {
        uint64_t all = ~0ull, begun = monotonic_ns();
        struct joined joined;
        siginfo_t info;
        int listens = 0;
        joined_prepare(&joined, from, index);
        syscall(SYS_rt_sigprocmask, SIG_SETMASK, &all, NULL, sizeof all);
        tell(c, REPORT_STARTED, 0);
        close_others(c);
        limit_itself(c, from, index);
        for (;;) {
                reap(c, payload, &joined);
                long sig = wait_for_signal(&all, &info, !listens);
                if (!listens && monotonic_ns() - begun >= SHORT_NS) {
                        restore_cpus(&c->cpus);
                        survive_listen(survive_of(c));
                        joined_listen(c);
                        joined_serve(&joined, c); /* what came before the first signal could */
                        survive_serve(c);
                        listens = 1;
                }
                if (sig > 0 && is_sent(&info))
                        kill(payload, (int) sig);
                else if (sig == SIGIO) {
                        joined_serve(&joined, c);
                        survive_serve(c);
                }
        }
}
