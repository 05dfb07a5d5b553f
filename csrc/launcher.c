/* sbx: starts a sandbox from its compiled plan without an interpreter, and leaves everything else to Python.
 *
 *   sbx run [-p|--profile PROFILE] [--name NAME] [--timing] [--] [COMMAND...]   a plan that is still true is run at once
 *   sbx exec [-e NAME=VALUE] [--cwd DIR] NAME [--] COMMAND...       another program in a live sandbox
 *   sbx _serve CONTROL                                            sandboxes for a program that uses the library
 *   sbx run --plan-fd N [--timing] [--] [COMMAND...]              Python has just made the plan
 *   anything else                                                 python3 -I -c 'import sandbox.cli ...' ...
 */
#include "cache.h"
#include "executor.h"
#include "join.h"
#include "options.h"
#include "serve.h"
#include "sys.h"

#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <termios.h>

#define EXIT_SBX 125
#define EXIT_ENDED 124 /* sbx has ended it, whatever it made of that: as timeout(1) says it */

#define MAX_SETS 32 /* here and in sandbox/plan/cache.py */

struct request {
        const char *profile;
        const char *name; /* NULL: none is asked for */
        int plan_fd;
        int timing;
        const char *sets[MAX_SETS + 1];
        unsigned set_count;
        char *const *command; /* NULL: the plan's */
};

static void say(const char *text) {
        ssize_t n = write(2, text, strlen(text));
        (void) n;
}

static int number_of(const char *text) {
        int n = 0;
        for (; *text >= '0' && *text <= '9' && n < 100000; text++)
                n = n * 10 + *text - '0';
        return *text == 0 ? n : -1;
}

/* 0 where this is a run that needs no more than a plan, -1 where Python has to look at it. */
static int parse(char *const *argv, struct request *ret) {
        struct request request = { .plan_fd = -1 };
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
                else if ((value = value_of(*at, "--plan-fd", &at)) != NULL)
                        request.plan_fd = number_of(value);
                else
                        return -1;
        }
        request.command = *at != NULL ? at : NULL;
        if (request.plan_fd >= 0 ? request.set_count > 0 : request.profile == NULL)
                return -1;
        *ret = request;
        return 0;
}

/* Python's interpreter as pip wrote it into the script that it installed beside us. */
static int read_interpreter(const char *script, char out[PATH_MAX]) {
        char text[2 * PATH_MAX];
        cleanup_fd int fd = open(script, O_RDONLY | O_CLOEXEC);
        ssize_t n = fd < 0 ? -1 : read(fd, text, sizeof text - 1);
        if (n < 3 || text[0] != '#' || text[1] != '!')
                return -ENOENT;
        text[n] = 0;
        const char *from = text + 2, *quoted = "/bin/sh\n'''exec' \"";
        int in_quotes = strncmp(from, quoted, strlen(quoted)) == 0; /* a path with blanks, or a long one */
        if (in_quotes)
                from += strlen(quoted);
        size_t len = strcspn(from, in_quotes ? "\"" : " \n");
        if (len == 0 || len >= PATH_MAX || *from != '/')
                return -ENOENT;
        memcpy(out, from, len);
        out[len] = 0;
        return 0;
}

/* What Python can't start with it doesn't report in our words, nor with our status. */
static void check_limits(void) {
        static const struct {
                int resource;
                rlim_t least;
                const char *says;
        } limits[] = {
                { RLIMIT_NOFILE, 8, "open files (RLIMIT_NOFILE) is below 8\nhint: raise it: ulimit -n 1024\n" },
                { RLIMIT_AS, 64 << 20, "memory (RLIMIT_AS) is below 64 MiB\nhint: raise it: ulimit -v unlimited\n" },
                { RLIMIT_DATA, 32 << 20, "memory (RLIMIT_DATA) is below 32 MiB\nhint: raise it: ulimit -d unlimited\n" },
                { RLIMIT_STACK, 256 << 10, "the stack (RLIMIT_STACK) is below 256 KiB\nhint: raise it: ulimit -s 8192\n" },
                { RLIMIT_FSIZE, 64 << 10, "written files (RLIMIT_FSIZE) is below 64 KiB\nhint: raise it: ulimit -f unlimited\n" },
        };
        for (size_t i = 0; i < sizeof limits / sizeof *limits; i++) {
                struct rlimit now;
                if (getrlimit((__typeof__(RLIMIT_AS)) limits[i].resource, &now) < 0 || now.rlim_cur >= limits[i].least)
                        continue;
                say("sbx: error: Python, which compiles profiles and explains failures, can't run: the caller's limit on ");
                say(limits[i].says);
                _exit(EXIT_SBX);
        }
}

/* Python heeds these though it is told to heed no variable of its own. They may be meant for the payload. */
static const char *const disturbing[] = { "PYTHONEXECUTABLE=", "__PYVENV_LAUNCHER__=" };

static char *without_effect(char *entry) {
        static const char prefix[] = "SBX_KEPT_";
        for (size_t i = 0; i < sizeof disturbing / sizeof *disturbing; i++)
                if (strncmp(entry, disturbing[i], strlen(disturbing[i])) == 0) {
                        char *kept = malloc(sizeof prefix + strlen(entry));
                        if (kept == NULL)
                                _exit(EXIT_SBX);
                        return strcat(strcpy(kept, prefix), entry);
                }
        return entry;
}

/* A failing import ends with 125, not with Python's own 1. */
static char program[] = "import sys\n"
                        "try:\n"
                        "    from sandbox.cli import main\n"
                        "except Exception as error:\n"
                        "    print(f\"sbx: error: its Python part can't be loaded: {type(error).__name__}: {error}\\n\"\n"
                        "          \"hint: install sbx anew with pip, and let this user read all of it\", file=sys.stderr)\n"
                        "    sys.exit(125)\n"
                        "sys.exit(main())\n";

static void start_python(char *const *arguments, char **environment) __attribute__((noreturn, noinline));
static void run_python(char *const *arguments, char **environment) __attribute__((noreturn));
static void run_python(char *const *arguments, char **environment) {
        check_limits();
        start_python(arguments, environment);
}

static void start_python(char *const *arguments, char **environment) {
        char self[PATH_MAX], script[PATH_MAX + 32], python[PATH_MAX + 32], variable[PATH_MAX + 32] = "SBX_LAUNCHER=";
        size_t count = 0, variables = 0;
        ssize_t n = readlink("/proc/self/exe", self, sizeof self - 1);
        if (n <= 0) {
                say("sbx: error: /proc/self/exe can't be read\nhint: mount /proc: mount -t proc proc /proc\n");
                _exit(EXIT_SBX);
        }
        self[n] = 0;
        strcat(variable, self);
        char *slash = strrchr(self, '/');
        slash[1] = 0;
        strcat(strcpy(script, self), "sbx-python");
        strcat(strcpy(python, self), "python3");

        while (arguments[count] != NULL)
                count++;
        while (environment[variables] != NULL)
                variables++;
        char **argv = calloc(count + 5, sizeof *argv), **envp = calloc(variables + 2, sizeof *envp);
        if (argv == NULL || envp == NULL)
                _exit(EXIT_SBX);
        char *head[] = { python, "-I", "-c", program };
        memcpy(argv, head, sizeof head);
        memcpy(argv + 4, arguments, count * sizeof *argv);
        envp[0] = variable;
        for (size_t i = 0, at = 1; i < variables; i++)
                if (strncmp(environment[i], "SBX_LAUNCHER=", 13) != 0)
                        envp[at++] = without_effect(environment[i]);
        read_interpreter(script, python);
        execve(python, argv, envp);
        say("sbx: error: no Python interpreter: ");
        say(python);
        say(" can't be run: ");
        say(strerror(errno));
        say("\nhint: let this user reach it, or install sbx anew with pip: it belongs to sbx and sbx-python\n");
        _exit(EXIT_SBX);
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

/* Python holds the words for what failed: the sandbox is gone, the plan's descriptor tells the rest. */
static void explain(const struct cached_plan *p, const struct request *request, const struct sbx_failure *failure, char **environment) __attribute__((noreturn));
static void explain(const struct cached_plan *p, const struct request *request, const struct sbx_failure *failure, char **environment) {
        char numbers[5][24];
        char *const arguments[] = {
                "_failure",
                decimal((uint64_t) keep_open(p->fd), numbers[0]),
                decimal(failure->stage, numbers[1]),
                decimal(failure->op, numbers[2]),
                decimal((uint64_t) failure->error, numbers[3]),
                decimal(failure->detail, numbers[4]),
                "--",
                request->command ? request->command[0] : NULL,
                NULL,
        };
        run_python(arguments, environment);
}

/* The same of a program that was to join a live sandbox; the plan is its supervisor's. */
static void explain_join(const struct joining *j, char **environment) {
        struct cached_plan p = { .fd = j->plan_fd };
        struct request request = { .command = j->command };
        if (p.fd >= 0)
                explain(&p, &request, &j->failure, environment);
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
        for (int fd = 0; fd < 3; fd++)
                if (fstat(fd, &st) < 0) {
                        if (open("/dev/null", fd == 0 ? O_RDONLY : O_WRONLY) != fd)
                                return -errno;
                } else if (S_ISDIR(st.st_mode)) {
                        say("sbx: error: standard ");
                        say(names[fd]);
                        say(" is a directory\nhint: redirect it to a file or /dev/null\n");
                        return -EISDIR;
                }
        return 0;
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
        return sig == SIGSYS || sig == SIGSEGV || sig == SIGBUS || sig == SIGILL || sig == SIGFPE || sig == SIGABRT || sig == SIGTRAP ||
               sig == SIGXFSZ || sig == SIGXCPU;
}

/* To a person only, and only of a failure; sandbox/cli/hint.py says the same where Python attends a terminal. */
static void hint(int status, char *const *environment) {
        struct winsize size;
        int code = exit_code(status), by_filter = WIFSIGNALED(status) && WTERMSIG(status) == SIGSYS;
        if (code == 0 || (code > 128 && code <= 128 + 31 && !is_fault(code - 128)) || ioctl(2, TIOCGWINSZ, &size) < 0)
                return;
        for (; *environment != NULL; environment++)
                if (strcmp(*environment, "SBX_HINTS=0") == 0)
                        return;
        say(by_filter ? "sbx: hint: the system call filter killed it; 'sbx run --explain ...' names the call\n"
                      : "sbx: hint: if the sandbox was in its way, 'sbx run --explain ...' names what was refused\n");
}

static int run(const struct cached_plan *p, const struct request *request, char **environment) {
        struct sbx_record record = SBX_NO_RECORD;
        struct sbx_launch launch = {
                .plan = &p->plan,
                .argv = request->command,
                .environment = environment,
                .record = &record,
                .name = request->name,
                .plan_fd = p->fd,
        };
        struct sbx_failure failure = { 0 };
        struct sbx_child child;
        struct sbx_exit end;
        uint64_t mask;

        if (request->timing) {
                launch.timing = mmap(NULL, sizeof *launch.timing, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
                if (launch.timing == MAP_FAILED)
                        return EXIT_SBX;
        }
        warn_of_gaps(&p->plan);
        sbx_block_signals(&mask);
        int r = sbx_start(&launch, &child, &failure);
        if (r >= 0) {
                r = sbx_supervise(&launch, &child, &end);
                if (r >= 0)
                        failure = end.failure;
                if (r >= 0 && failure.stage == 0 && sbx_was_ended(&child))
                        return EXIT_ENDED;
                if (r >= 0 && failure.stage == 0 && !request->timing) {
                        hint(end.status, environment);
                        return exit_code(end.status); /* what is held goes with the process */
                }
                sbx_release(&child);
        }
        sbx_restore_signals(mask);
        if (failure.stage != 0)
                explain(p, request, &failure, environment);
        if (r < 0)
                return EXIT_SBX;
        if (request->timing)
                show_timing(p, launch.timing, exit_code(end.status), environment);
        return exit_code(end.status);
}

int main(int argc, char **argv, char **environment) {
        struct request request;
        struct cached_plan p;
        signal(SIGCHLD, SIG_DFL); /* an ignored one would leave nothing to wait for, here and in Python */
        if (argc < 1 || check_standard_streams() < 0)
                return EXIT_SBX;
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
                        return serve(number_of(argv[2]));
                run_python(argv + 1, environment);
        }
        if (request.plan_fd >= 0) {
                if (fcntl(request.plan_fd, F_SETFD, FD_CLOEXEC) < 0 || cache_read(request.plan_fd, &p) < 0) {
                        say("sbx: error: --plan-fd: no sound plan there\nhint: run 'sbx run --profile PROFILE'\n");
                        return EXIT_SBX;
                }
        } else if (cache_find(request.profile, request.sets, environment, &p) < 0 || wants_terminal(&p.plan))
                run_python(argv + 1, environment);
        return run(&p, &request, environment);
}
