/* sbx: starts a sandbox from its compiled plan without an interpreter, and leaves everything else to Python.
 *
 *   sbx run [-p|--profile PROFILE] [--name NAME] [--report FILE] [--timing] [--] [COMMAND...]   a plan that is still true is run at once
 *   sbx adopt NAME                                                a live sandbox that has lost its supervisor
 *   sbx exec [-e NAME=VALUE] [--cwd DIR] NAME [--] COMMAND...       another program in a live sandbox
 *   sbx _serve CONTROL                                            sandboxes for a program that uses the library
 *   sbx run --plan-fd N [--timing] [--] [COMMAND...]              Python has just made the plan
 *   anything else                                                 python3 -I -c 'import sandbox.cli ...' ...
 */
#include "adopt.h"
#include "cache.h"
#include "executor.h"
#include "join.h"
#include "manager.h"
#include "options.h"
#include "python.h"
#include "record.h"
#include "serve.h"
#include "sys.h"

#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <termios.h>

#define MAX_SETS 32 /* here and in sandbox/plan/cache.py */

struct request {
        const char *profile;
        const char *name;   /* NULL: none is asked for */
        const char *report; /* a file that the end is told in */
        int report_fd;
        int plan_fd, ready_fd;
        int timing;
        const char *sets[MAX_SETS + 1];
        unsigned set_count;
        char *const *command; /* NULL: the plan's */
};

static int number_of(const char *text) {
        int n = 0;
        for (; *text >= '0' && *text <= '9' && n < 100000; text++)
                n = n * 10 + *text - '0';
        return *text == 0 ? n : -1;
}

/* 0 where this is a run that needs no more than a plan, -1 where Python has to look at it. */
static int parse(char *const *argv, struct request *ret) {
        struct request request = { .plan_fd = -1, .report_fd = -1 };
        char *const *at = argv + 1;
        const char *value;
        if (*at == NULL || strcmp(*at, "run") != 0)
                return -1;
        for (at++; *at != NULL && **at == '-'; at++) {
                if (strcmp(*at, "--") == 0) {
                        at++;
                        break;
                }
                if (strcmp(*at, "--timing") == 0)
                        request.timing = 1;
                else if ((value = value_of(*at, "--profile", &at)) != NULL || (value = value_of(*at, "-p", &at)) != NULL)
                        request.profile = value;
                else if (request.set_count < MAX_SETS && (value = value_of(*at, "--set", &at)) != NULL)
                        request.sets[request.set_count++] = value;
                else if ((value = value_of(*at, "--name", &at)) != NULL)
                        request.name = value;
                else if ((value = value_of(*at, "--report", &at)) != NULL)
                        request.report = value;
                else if ((value = value_of(*at, "--plan-fd", &at)) != NULL)
                        request.plan_fd = number_of(value);
                else if ((value = value_of(*at, "--ready-fd", &at)) != NULL)
                        request.ready_fd = number_of(value);
                else
                        return -1;
        }
        request.command = *at != NULL ? at : NULL;
        if ((request.plan_fd >= 0 ? request.set_count > 0 : request.profile == NULL || request.ready_fd != 0) ||
            (request.timing && request.report != NULL))
                return -1;
        if (request.ready_fd != 0 && (request.ready_fd < 3 || fcntl(request.ready_fd, F_SETFD, FD_CLOEXEC) < 0))
                return -1;
        *ret = request;
        return 0;
}

/* A launch says each time what it does without. */
static void warn_of_gaps(const struct plan *p) {
        const struct plan_record *r = plan_first_op(p);
        for (uint32_t i = 0; i < p->header->op_count; i++, r = plan_next(r)) {
                const struct op_skip_feature *op = plan_payload(r);
                if (r->kind == PLAN_SkipFeature && op->warn) {
                        say("sbx: warning: not enforced on this host, and optional: ");
                        say(plan_string(p, op->feature));
                        say("\n");
                }
        }
}

static char *decimal(uint64_t n, char buffer[24]) {
        char *at = buffer + 23;
        *at = 0;
        do
                *--at = (char) ('0' + n % 10);
        while ((n /= 10) > 0);
        return at;
}

static int keep_open(int fd) {
        return fcntl(fd, F_SETFD, 0) < 0 ? -errno : fd;
}

/* Python holds the words: the sandbox is gone, the plan's descriptor and these arguments tell the rest. */
static void tell(char *const *arguments, size_t count, char *const *command, char **environment) __attribute__((noreturn));
static void tell(char *const *arguments, size_t count, char *const *command, char **environment) {
        size_t words = 0;
        while (command != NULL && command[words] != NULL)
                words++;
        char **all = calloc(count + words + 2, sizeof *all);
        if (all == NULL)
                _exit(EXIT_SBX);
        all[0] = arguments[0];
        all[1] = (char[]) { "--" }; /* a name that is none may look like an option */
        memcpy(all + 2, arguments + 1, (count - 1) * sizeof *all);
        if (words > 0)
                memcpy(all + count + 1, command, words * sizeof *all);
        run_python(all, environment);
}

static char *report_of(const struct request *request, char buffer[24]) {
        return decimal(request->report_fd < 0 ? 0 : (uint64_t) keep_open(request->report_fd), buffer);
}

static void explain(const struct cached_plan *p, const struct request *request, const char *name, const struct sbx_failure *failure, char **environment) __attribute__((noreturn));
static void explain(const struct cached_plan *p, const struct request *request, const char *name, const struct sbx_failure *failure, char **environment) {
        char numbers[6][24];
        char *const arguments[] = {
                "_failure",
                decimal((uint64_t) keep_open(p->fd), numbers[0]),
                decimal(failure->stage, numbers[1]),
                decimal(failure->op, numbers[2]),
                decimal((uint64_t) failure->error, numbers[3]),
                decimal(failure->detail, numbers[4]),
                report_of(request, numbers[5]),
                (char *) (uintptr_t) name,
        };
        tell(arguments, sizeof arguments / sizeof *arguments, request->command, environment);
}

static void tell_end(const struct cached_plan *p, const struct request *request, const char *name, const struct sbx_exit *end, char **environment) __attribute__((noreturn));
static void tell_end(const struct cached_plan *p, const struct request *request, const char *name, const struct sbx_exit *end, char **environment) {
        char numbers[3][24];
        int fd = memfd_create("sbx-end", 0);
        if (fd < 0 || write(fd, end, sizeof *end) != sizeof *end)
                _exit(EXIT_SBX);
        char *const arguments[] = {
                "_ended",
                decimal((uint64_t) keep_open(p->fd), numbers[0]),
                decimal((uint64_t) fd, numbers[1]),
                report_of(request, numbers[2]),
                (char *) (uintptr_t) name,
        };
        tell(arguments, sizeof arguments / sizeof *arguments, request->command, environment);
}

/* The ends that sbx brings about; sandbox/process/ending.py has the same words. */
static int tell_ended(const char *name, uint32_t cause) {
        say("sbx: ");
        say(name);
        say(cause == SBX_WATCHDOG    ? ": ended by sbx: it gave no sign of life in time (service.watchdog)\n"
            : cause == SBX_UNHEALTHY ? ": ended by sbx: its checks failed (service.health)\n"
                                     : ": ended by sbx: a time of [service] was up\n");
        return EXIT_ENDED;
}

/* What nobody could tell from an exit status; the file of --report takes every end. */
static int is_told(const struct request *request, const struct sbx_exit *end) {
        return request->report_fd >= 0 || end->left < 0 ||
               (end->cause != SBX_EXITED && end->cause != SBX_SIGNALED && end->cause != SBX_STOPPED);
}

/* The same of a program that was to join a live sandbox; the plan is its supervisor's. */
static void explain_join(const struct joining *j, char **environment) {
        struct cached_plan p = { .fd = j->plan_fd };
        struct request request = { .command = j->command, .report_fd = -1 };
        if (p.fd >= 0)
                explain(&p, &request, "exec", &j->failure, environment);
}

static void show_timing(const struct cached_plan *p, const struct sbx_timing *timing, int status, char **environment) __attribute__((noreturn));
static void show_timing(const struct cached_plan *p, const struct sbx_timing *timing, int status, char **environment) {
        char numbers[3][24];
        int fd = memfd_create("sbx-timing", 0);
        if (fd < 0 || write(fd, timing, sizeof *timing) != sizeof *timing)
                _exit(EXIT_SBX);
        char *const arguments[] = { "_timing", decimal((uint64_t) keep_open(p->fd), numbers[0]), decimal((uint64_t) fd, numbers[1]),
                                    decimal((uint64_t) status, numbers[2]), NULL };
        run_python(arguments, environment);
}

/* A descriptor of ours must never become a standard stream of the payload, and with a directory as one not even
 * Python starts. */
static int check_standard_streams(void) {
        static const char *const names[] = { "input", "output", "error" };
        struct stat st;
        for (int fd = 0; fd < 3; fd++) {
                int there = fstat(fd, &st) >= 0;
                if (there ? !S_ISDIR(st.st_mode) : errno == EBADF && open("/dev/null", fd == 0 ? O_RDONLY : O_WRONLY) == fd)
                        continue;
                say("sbx: error: standard ");
                say(names[fd]);
                say(there ? " is a directory" : " can't be used: ");
                say(there ? "" : strerror(errno));
                say("\nhint: redirect it to a file or /dev/null\n");
                return -1;
        }
        return 0;
}

/* Before anything runs: a file that can't be written is no news at the end. */
static int open_report(struct request *request) {
        request->report_fd = open(request->report, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOCTTY, 0666);
        if (request->report_fd >= 0)
                return 0;
        say("sbx: error: --report: ");
        say(request->report);
        say(": ");
        say(strerror(errno));
        say("\n");
        return -1;
}

static int wants_terminal(const struct plan *p) {
        struct winsize size;
        if (p->header->flags & PLAN_FLAG_TERMINAL_ALWAYS)
                return 1;
        return (p->header->flags & PLAN_FLAG_TERMINAL_AUTO) && ioctl(0, TIOCGWINSZ, &size) == 0;
}

static int exit_code(int status) {
        return WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
}

/* Signals that tell of the program's own fault, as a refused call may make one; others are somebody's wish. */
static int is_fault(int sig) {
        return sig == SIGSEGV || sig == SIGBUS || sig == SIGILL || sig == SIGFPE || sig == SIGABRT || sig == SIGTRAP ||
               sig == SIGXFSZ || sig == SIGXCPU;
}

/* To a person only, and only of a failure; sandbox/cli/hint.py says the same where Python attends a terminal. */
static void hint(int status, char *const *environment) {
        struct winsize size;
        int code = exit_code(status);
        if (code == 0 || (code > 128 && code <= 128 + 31 && !is_fault(code - 128)) || ioctl(2, TIOCGWINSZ, &size) < 0)
                return;
        for (; *environment != NULL; environment++)
                if (strcmp(*environment, "SBX_HINTS=0") == 0)
                        return;
        say("sbx: hint: if the sandbox was in its way, 'sbx run --explain ...' names what was refused\n");
}

/* A service manager that waits for it hears that the program runs; a service's supervisor tells that itself. */
static int start(const struct sbx_launch *launch, struct sbx_child *child, struct sbx_failure *failure) {
        int r = sbx_start(launch, child, failure);
        if (r < 0 || child->service != NULL || !manager_awaits(launch->environment))
                return r;
        r = sbx_await_exec(launch, child, failure);
        if (r < 0)
                sbx_release(child);
        else
                sbx_announce(launch, child);
        return r;
}

static void take_over_instead(const struct cached_plan *p, const struct request *request, char *const *arguments, char **environment);
static int run(const struct cached_plan *p, const struct request *request, struct survivor *survivor, char *const *arguments, char **environment) {
        struct sbx_record none = SBX_NO_RECORD, *record = survivor != NULL ? &survivor->record : &none;
        struct sbx_launch launch = {
                .plan = &p->plan,
                .argv = request->command,
                .words = words_of(arguments - 1),
                .environment = environment,
                .record = record,
                .name = request->name,
                .plan_fd = p->fd,
                .ready_fd = request->ready_fd,
        };
        struct sbx_failure failure = { 0 };
        struct sbx_child child;
        struct sbx_exit end;
        const char *name = record->name;
        uint64_t mask;

        if (request->timing) {
                launch.timing = mmap(NULL, sizeof *launch.timing, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
                if (launch.timing == MAP_FAILED)
                        return EXIT_SBX;
        }
        warn_of_gaps(&p->plan);
        sbx_block_signals(&mask);
        int r = survivor != NULL ? sbx_adopt(&launch, survivor, &child) : start(&launch, &child, &failure);
        if (r >= 0) {
                r = sbx_supervise(&launch, &child, &end);
                if (r >= 0)
                        failure = end.failure;
                if (r >= 0 && failure.stage == 0 && !request->timing && !is_told(request, &end)) {
                        hint(end.status, environment);
                        if (child.service != NULL)
                                sbx_release(&child);
                        return exit_code(end.status); /* what else is held goes with the process */
                }
                sbx_release(&child);
        }
        sbx_restore_signals(mask);
        if (survivor == NULL && failure.stage == STAGE_RECORD && failure.error == EEXIST && request->command == NULL)
                take_over_instead(p, request, arguments, environment);
        if (*name == 0 && record_name(&launch, record->name) < 0)
                name = request->name != NULL ? request->name : "";
        if (failure.stage == STAGE_PREPARE && failure.detail == DETAIL_NOT_DELEGATED && request->plan_fd < 0 && geteuid() != 0)
                run_python(arguments, environment); /* it asks the user's systemd for a cgroup */
        if (failure.stage != 0)
                explain(p, request, name, &failure, environment);
        if (r < 0) {
                say("sbx: error: the sandbox couldn't be attended: ");
                say(strerror(-r));
                say("\n");
                return EXIT_SBX;
        }
        if (request->timing)
                show_timing(p, launch.timing, exit_code(end.status), environment);
        if (request->report_fd < 0 && end.left == 0 && (end.cause == SBX_TIMEOUT || end.cause == SBX_WATCHDOG || end.cause == SBX_UNHEALTHY))
                return tell_ended(name, end.cause);
        tell_end(p, request, name, &end, environment);
}

/* A survivor's name is taken: who starts the same profile again under it takes it over. Comes back where there is
 * nothing to take over. */
static void take_over_instead(const struct cached_plan *p, const struct request *request, char *const *arguments, char **environment) {
        struct survivor survivor;
        if (request->name == NULL || adopt_profile(request->name, &p->plan, environment, &survivor) < 0)
                return;
        if (survivor.plan.size != p->size || memcmp(survivor.plan.bytes, p->bytes, p->size) != 0)
                say("sbx: warning: what runs was started from an earlier state of its profile or of this host; stop it to start anew\n");
        exit(run(&survivor.plan, request, &survivor, arguments, environment));
}

static int adopt(const char *name, char *const *arguments, char **environment) {
        struct request request = { .plan_fd = -1, .report_fd = -1, .name = name };
        struct survivor survivor;
        int r = adopt_open(name, environment, &survivor);
        if (r >= 0)
                return run(&survivor.plan, &request, &survivor, arguments, environment);
        if (!survivor.ended) {
                adopt_refuse(name, -r);
                return EXIT_SBX;
        }
        adopt_bury(&survivor);
        say("sbx: ");
        say(name);
        say(survivor.status >= 0 ? ": ended while it had no supervisor\n" : ": ended while it had no supervisor; how isn't known\n");
        return survivor.status >= 0 ? exit_code(survivor.status) : EXIT_SBX;
}

int main(int argc, char **argv, char **environment) {
        struct request request;
        struct cached_plan p;
        signal(SIGCHLD, SIG_DFL); /* an ignored one would leave nothing to wait for, here and in Python */
        if (argc < 1 || check_standard_streams() < 0)
                return EXIT_SBX;
        if (argc == 3 && strcmp(argv[1], "adopt") == 0 && record_is_name(argv[2]))
                return adopt(argv[2], argv + 1, environment);
        if (argc > 3 && strcmp(argv[1], "exec") == 0) {
                struct joining joining;
                int code = join(argv + 2, environment, &joining);
                if (code >= 0)
                        return code;
                if (joining.failure.stage != 0)
                        explain_join(&joining, environment);
        }
        if (parse(argv, &request) < 0) {
                if (argc == 3 && strcmp(argv[1], "_serve") == 0)
                        return serve(number_of(argv[2]), words_of(argv));
                run_python(argv + 1, environment);
        }
        if (request.plan_fd >= 0) {
                if (fcntl(request.plan_fd, F_SETFD, FD_CLOEXEC) < 0 || cache_read(request.plan_fd, &p) < 0) {
                        say("sbx: error: --plan-fd: no sound plan there\nhint: run 'sbx run --profile PROFILE'\n");
                        return EXIT_SBX;
                }
        } else if (cache_find(request.profile, request.sets, environment, &p) < 0 || wants_terminal(&p.plan))
                run_python(argv + 1, environment);
        if (request.report != NULL && open_report(&request) < 0)
                return EXIT_SBX;
        return run(&p, &request, NULL, argv + 1, environment);
}
