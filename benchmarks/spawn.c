/* Starts commands and measures them; small and static, so that a launch costs the same whoever asks for it.
 *
 *   spawn COMMANDS
 *
 * Each line of the file COMMANDS is one command, its words set apart by tabs.  It says
 * "ready" when it is; then requests come on standard input:
 *
 *   run INDEX                        ->  NANOSECONDS STATUS
 *   rate INDEX WORKERS MILLISECONDS  ->  LAUNCHES NANOSECONDS STATUS
 *
 * NANOSECONDS run from before posix_spawn until the command is reaped; STATUS is that of wait(2), 0 when all went well.
 * Commands get /dev/null for standard input and output, and the standard error of spawn.
 */
#include <errno.h>
#include <fcntl.h>
#include <spawn.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define MAX_COMMANDS 64
#define MAX_WORDS 1024
#define MAX_WORKERS 64

static char **commands[MAX_COMMANDS];
static unsigned command_count;
extern char **environ;

static void fail(const char *what) {
        perror(what);
        exit(1);
}

static int64_t now(void) {
        struct timespec t;
        clock_gettime(CLOCK_MONOTONIC, &t);
        return t.tv_sec * 1000000000ll + t.tv_nsec;
}

static int launch(char **argv) {
        int status;
        pid_t pid;
        errno = posix_spawn(&pid, argv[0], NULL, NULL, argv, environ);
        if (errno != 0)
                fail(argv[0]);
        while (waitpid(pid, &status, 0) < 0)
                if (errno != EINTR)
                        fail("waitpid");
        return status;
}

static void run_once(char **argv, int answers) {
        int64_t start = now();
        int status = launch(argv);
        dprintf(answers, "%lld %d\n", (long long) (now() - start), status);
}

struct share {
        int64_t launches;
        int64_t status;
};

static struct share work(char **argv, int64_t end) {
        struct share share = { 0, 0 };
        while (now() < end && share.status == 0) {
                share.status = launch(argv);
                share.launches++;
        }
        return share;
}

static void run_many(char **argv, unsigned workers, int64_t milliseconds, int answers) {
        pid_t pids[MAX_WORKERS];
        int results[2], status;
        struct share sum = { 0, 0 }, one;
        if (workers == 0 || workers > MAX_WORKERS)
                fail("workers");
        if (pipe2(results, O_CLOEXEC) < 0)
                fail("pipe");
        int64_t start = now();
        for (unsigned i = 0; i < workers; i++) {
                pids[i] = fork();
                if (pids[i] < 0)
                        fail("fork");
                if (pids[i] == 0) {
                        one = work(argv, start + milliseconds * 1000000);
                        _exit(write(results[1], &one, sizeof one) != sizeof one);
                }
        }
        for (unsigned i = 0; i < workers; i++) {
                if (waitpid(pids[i], &status, 0) < 0 || status != 0 || read(results[0], &one, sizeof one) != sizeof one)
                        fail("a worker");
                sum.launches += one.launches;
                if (one.status != 0)
                        sum.status = one.status;
        }
        dprintf(answers, "%lld %lld %lld\n", (long long) sum.launches, (long long) (now() - start), (long long) sum.status);
        close(results[0]);
        close(results[1]);
}

static void read_commands(const char *path) {
        FILE *file = fopen(path, "re");
        char *line = NULL;
        size_t room = 0;
        ssize_t n;
        if (file == NULL)
                fail(path);
        while ((n = getline(&line, &room, file)) > 0 && command_count < MAX_COMMANDS) {
                char **words = calloc(MAX_WORDS, sizeof *words);
                unsigned count = 0;
                if (words == NULL)
                        fail("calloc");
                if (line[n - 1] == '\n')
                        line[n - 1] = 0;
                for (char *rest = strdup(line), *word; (word = strsep(&rest, "\t")) != NULL && count < MAX_WORDS - 1;)
                        words[count++] = word;
                commands[command_count++] = words;
        }
        free(line);
        fclose(file);
}

int main(int argc, char **argv) {
        char request[128];
        unsigned index, workers;
        long long milliseconds;
        if (argc != 2)
                return 2;
        read_commands(argv[1]);
        FILE *requests = fdopen(fcntl(0, F_DUPFD_CLOEXEC, 3), "r");
        int answers = fcntl(1, F_DUPFD_CLOEXEC, 3);
        int null = open("/dev/null", O_RDWR | O_CLOEXEC);
        if (requests == NULL || answers < 0 || null < 0 || dup2(null, 0) < 0 || dup2(null, 1) < 0)
                fail("descriptors");
        dprintf(answers, "ready\n");
        while (fgets(request, sizeof request, requests) != NULL) {
                if (sscanf(request, "run %u", &index) == 1 && index < command_count)
                        run_once(commands[index], answers);
                else if (sscanf(request, "rate %u %u %lld", &index, &workers, &milliseconds) == 3 && index < command_count)
                        run_many(commands[index], workers, milliseconds, answers);
                else
                        fail("request");
        }
        return 0;
}
