/* PID 1 of the sandbox: reaps whatever is left to it, hands signals on, and ends when the payload does. */
#include "context.h"
#include "serve.h"
#include "sys.h"

#include <string.h>
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

static void close_others(int keep) {
        if (keep > 0)
                sys_close_range(0, (unsigned) keep - 1, 0);
        sys_close_range((unsigned) keep + 1, ~0u, 0);
}

static void reap(const struct context *c, pid_t payload) {
        int status;
        pid_t pid;
        while ((pid = waitpid(-1, &status, WNOHANG | __WALL)) > 0)
                if (pid == payload) {
                        tell_end(c, status);
                        _exit(WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status));
                }
}

void run_init(struct context *c, pid_t payload) {
        uint64_t all = ~0ull;
        syscall(SYS_rt_sigprocmask, SIG_SETMASK, &all, NULL, sizeof all);
        tell(c, REPORT_STARTED, 0);
        close_others(c->status_fd);
        for (;;) {
                reap(c, payload);
                long sig = wait_for_signal(&all, c->cpus.size > 0);
                if (sig < 0 && errno == EAGAIN)
                        restore_cpus(&c->cpus);
                if (sig > 0 && sig != SIGCHLD)
                        kill(payload, (int) sig);
        }
}
