/* What an attacker inside a sandbox tries, one verb for each attempt.
 *
 *   probe VERB ARGUMENT... [+ VERB ARGUMENT...]...
 *
 * Each attempt is made in a process of its own, and answered by the one above it with a line of JSON:
 *   {"attempt": "VERB ARGUMENT...", "outcome": "succeeded", an errno's name or a signal's, "detail": text}
 * An attempt has succeeded if the attacker has gained something by it. A call that works and yields nothing, such as
 * reading a masked file, is ENODATA.
 *
 * The word `rooted` before a verb gives that attempt user and mount namespaces of its own, in which it is user 0 with
 * every capability: what a sandbox has to withstand and an unprivileged caller can show outside of one.
 *
 * It is one static program that knows of no sandbox, so the same attempts can be made under any. */
#include "probe.h"

#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/wait.h>
#include <unistd.h>

#define SECONDS 60 /* after which an attempt that hangs ends as SIGALRM */

/* Where an attempt leaves its outcome: memory that it shares with the process that prints. */
static struct report {
        int answered;
        int error;
        char detail[4096];
} *report;

static const struct verb *const tables[] = { descriptor_verbs, proc_verbs,     path_verbs,
                                             mount_verbs,      identity_verbs, call_verbs,
                                             filter_verbs,     loosen_verbs,   network_verbs,
                                             resource_verbs,   peer_verbs };

void say(const char *format, ...) {
        size_t used = strlen(report->detail);
        va_list arguments;
        va_start(arguments, format);
        vsnprintf(report->detail + used, sizeof report->detail - used, format, arguments);
        va_end(arguments);
}

long nothing(void) {
        return failed(ENODATA);
}

long failed(int error) {
        errno = error;
        return -1;
}

unsigned long number(const char *text) {
        return strtoul(text, NULL, 0);
}

long slurp(const char *path, char *text, size_t n) {
        int fd = open(path, O_RDONLY | O_CLOEXEC);
        size_t used = 0;
        ssize_t got = -1;
        while (fd >= 0 && used < n - 1 && (got = read(fd, text + used, n - 1 - used)) > 0)
                used += (size_t) got;
        text[used] = 0;
        int error = errno;
        if (fd >= 0)
                close(fd);
        errno = error;
        return got < 0 ? -1 : (long) used;
}

/* ---- Answers ---- */

static void put_text(const char *text) {
        for (; *text; text++) {
                unsigned char c = (unsigned char) *text;
                if (c == '"' || c == '\\')
                        printf("\\%c", c);
                else if (c < 0x20 || c >= 0x7f)
                        printf("\\u%04x", c); /* bytes, as Latin-1 */
                else
                        putchar(c);
        }
}

static void answer(char **words, int count, int sig) {
        const char *name = sig ? sigabbrev_np(sig) : error_name(report->error);
        printf("{\"attempt\": \"");
        for (int i = 0; i < count; i++) {
                put_text(i ? " " : "");
                put_text(words[i]);
        }
        printf("\", \"outcome\": \"");
        if (sig)
                printf("SIG%s", name ? name : "?");
        else if (report->error == 0)
                printf("succeeded");
        else if (name)
                printf("%s", name);
        else
                printf("errno %d", report->error);
        printf("\", \"detail\": \"");
        put_text(report->detail);
        printf("\"}\n");
        fflush(stdout);
}

/* ---- Attempts ---- */

static int put(const char *path, const char *text) {
        int fd = open(path, O_WRONLY | O_CLOEXEC);
        ssize_t n = fd < 0 ? -1 : write(fd, text, strlen(text));
        if (fd >= 0)
                close(fd);
        return n < 0 ? -1 : 0;
}

/* User 0 in namespaces of this attempt's own; whoever is root already needs no other user namespace. */
static int become_rooted(void) {
        char users[64], groups[64];
        snprintf(users, sizeof users, "0 %u 1", geteuid());
        snprintf(groups, sizeof groups, "0 %u 1", getegid());
        if (unshare(CLONE_NEWUSER | CLONE_NEWNS) < 0 || put("/proc/self/uid_map", users) < 0 ||
            put("/proc/self/setgroups", "deny") < 0 || put("/proc/self/gid_map", groups) < 0)
                return -1;
        return mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL);
}

static const struct verb *find(const char *name) {
        for (size_t i = 0; i < sizeof tables / sizeof *tables; i++)
                for (const struct verb *verb = tables[i]; verb->name != NULL; verb++)
                        if (strcmp(verb->name, name) == 0)
                                return verb;
        return NULL;
}

static void attempt(char **words, int count) {
        int rooted = count > 0 && strcmp(words[0], "rooted") == 0, status = 0;
        const struct verb *verb = count > rooted ? find(words[rooted]) : NULL;
        if (verb == NULL || count - rooted - 1 < verb->arguments) {
                fprintf(stderr, "probe: what is '%s'?\n", count > rooted ? words[rooted] : "");
                exit(99);
        }
        memset(report, 0, sizeof *report);
        pid_t pid = fork();
        if (pid == 0) {
                alarm(SECONDS);
                if (rooted && become_rooted() < 0) {
                        say("no namespaces of its own");
                        report->error = errno;
                } else {
                        errno = 0;
                        report->error = verb->attempt(words + rooted + 1) < 0 ? errno : 0;
                }
                report->answered = 1;
                _exit(0);
        }
        if (pid < 0 || waitpid(pid, &status, 0) < 0)
                report->error = errno;
        else if (!WIFSIGNALED(status) && !report->answered)
                say("ended with status %d without a word", WEXITSTATUS(status)), report->error = EPROTO;
        answer(words, count, pid > 0 && WIFSIGNALED(status) ? WTERMSIG(status) : 0);
}

int main(int argc, char **argv) {
        report = mmap(NULL, sizeof *report, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
        if (report == MAP_FAILED) {
                fprintf(stderr, "probe: no shared memory\n");
                return 99;
        }
        for (int first = 1, at = 1; at < argc; first = at + 1) {
                for (at = first; at < argc && strcmp(argv[at], "+") != 0; at++)
                        ;
                if (at < argc)
                        argv[at] = NULL;
                attempt(argv + first, at - first);
        }
        return 0;
}
