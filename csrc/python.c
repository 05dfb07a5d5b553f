/* How the launcher becomes Python: which interpreter, with which environment, and what it says where that can't be. */
#include "python.h"
#include "sys.h"

#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

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
void run_python(char *const *arguments, char **environment) {
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
