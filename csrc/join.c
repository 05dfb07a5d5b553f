/* The caller's part of `sbx exec`, without an interpreter.  With a terminal it is Python's. */
#include "join.h"
#include "context.h"
#include "control.h"
#include "fields.h"
#include "options.h"
#include "record.h"
#include "serve.h"

#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <termios.h>

#include "sys.h"

#define VARIABLES_MAX 64u

struct wish {
        const char *name, *cwd;
        const char *variables[VARIABLES_MAX];
        uint32_t variable_count;
        char *const *command;
};

/* -1 where this is for Python: an option or a mistake. */
static int parse(char *const *at, struct wish *w) {
        const char *value;
        *w = (struct wish) { .cwd = "" };
        for (; *at != NULL && **at == '-'; at++) {
                if ((value = value_of(*at, "--env", &at)) != NULL || (value = value_of(*at, "-e", &at)) != NULL) {
                        if (w->variable_count == VARIABLES_MAX || strchr(value, '=') == NULL || *value == '=')
                                return -1;
                        w->variables[w->variable_count++] = value;
                } else if ((value = value_of(*at, "--cwd", &at)) != NULL)
                        w->cwd = value;
                else
                        return -1;
        }
        w->name = *at;
        if (w->name == NULL || !record_is_name(w->name))
                return -1;
        at++;
        if (*at != NULL && strcmp(*at, "--") == 0)
                at++;
        w->command = at;
        return *at == NULL || (*w->cwd != 0 && *w->cwd != '/') ? -1 : 0;
}

/* ---- Asking ---- */

static int connect_to(int directory) {
        struct sockaddr_un address = { .sun_family = AF_UNIX };
        snprintf(address.sun_path, sizeof address.sun_path, "/proc/self/fd/%d/control", directory);
        cleanup_fd int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
        if (fd < 0 || connect(fd, (struct sockaddr *) &address, sizeof address) < 0)
                return -errno;
        return take_fd(&fd);
}

static int put_strings(const struct wish *w, uint8_t **ret_strings, uint32_t *ret_size, uint32_t *ret_words) {
        size_t size = strlen(w->cwd) + 1;
        uint32_t words = 0;
        for (; w->command[words] != NULL; words++)
                size += strlen(w->command[words]) + 1;
        for (uint32_t i = 0; i < w->variable_count; i++)
                size += strlen(w->variables[i]) + 1;
        if (size > CALL_MAX_SIZE)
                return -E2BIG;
        uint8_t *strings = malloc(size);
        if (strings == NULL)
                return -ENOMEM;
        char *at = stpcpy((char *) strings, w->cwd) + 1;
        for (uint32_t i = 0; i < words; i++)
                at = stpcpy(at, w->command[i]) + 1;
        for (uint32_t i = 0; i < w->variable_count; i++)
                at = stpcpy(at, w->variables[i]) + 1;
        *ret_strings = strings;
        *ret_size = (uint32_t) size;
        *ret_words = words;
        return 0;
}

/* Strings that don't fit into a message lie in a memory file. */
static int memory_file(const uint8_t *strings, size_t size) {
        cleanup_fd int fd = memfd_create("sbx-call", MFD_CLOEXEC);
        if (fd < 0 || write(fd, strings, size) != (ssize_t) size)
                return -errno;
        return take_fd(&fd);
}

static int send_call(int to, const struct wish *w) {
        static const int32_t numbers[3] = { 0, 1, 2 };
        struct serve_call call = { .magic = CALL_MAGIC, .variables = w->variable_count, .descriptors = 3 };
        uint8_t *strings = NULL;
        int r = put_strings(w, &strings, &call.size, &call.words);
        if (r < 0)
                return r;
        call.in_file = call.size > CALL_MAX_MESSAGE / 2;
        cleanup_fd int file = call.in_file ? memory_file(strings, call.size) : -1;
        int with_file[] = { file, 0, 1, 2 };
        struct iovec parts[] = { { &call, sizeof call }, { (void *) (uintptr_t) numbers, sizeof numbers }, { strings, call.size } };
        if (call.in_file && file < 0)
                r = file;
        else if (send_with_fds(to, parts, call.in_file ? 2 : 3, with_file + !call.in_file, call.in_file ? 4 : 3, 0) < 0)
                r = -errno;
        free(strings);
        return r;
}

static int ask(int to, const struct wish *w) {
        struct control_request request = { .version = CONTROL_VERSION, .verb = CONTROL_EXEC };
        if (send(to, &request, sizeof request, MSG_NOSIGNAL) < 0)
                return -errno;
        return send_call(to, w);
}

/* ---- Until its end ---- */

union answer {
        uint32_t kind;
        struct report report;
        struct serve_end end;
};

/* 0 where the init has gone, and with it everything. */
static ssize_t hear(int from, union answer *ret, int *pidfd) {
        int fd;
        ssize_t n = receive_with_fd(from, ret, sizeof *ret, &fd, 0);
        if (fd >= 0) {
                close_fd(pidfd);
                *pidfd = fd;
        }
        if (n < 0)
                return -errno;
        return n >= (ssize_t) sizeof(uint32_t) ? n : 0;
}

static void hand_on(int signals, int pidfd) {
        struct signalfd_siginfo info;
        if (read(signals, &info, sizeof info) == sizeof info && info.ssi_signo != SIGCHLD && pidfd >= 0)
                syscall(SYS_pidfd_send_signal, pidfd, (int) info.ssi_signo, NULL, 0);
}

static int attend(int connection, int signals, struct joining *ret) {
        struct pollfd polled[] = { { .fd = connection, .events = POLLIN }, { .fd = -1, .events = POLLIN } };
        cleanup_fd int pidfd = -1;
        union answer answer;
        for (;;) {
                polled[1].fd = pidfd >= 0 ? signals : -1; /* until then they wait */
                if (poll(polled, 2, -1) < 0 && errno != EINTR)
                        return -1;
                if (polled[1].revents)
                        hand_on(signals, pidfd);
                if (!polled[0].revents)
                        continue;
                ssize_t n = hear(connection, &answer, &pidfd);
                if (n <= 0) /* the sandbox has ended, or can't start a program */
                        return pidfd >= 0 ? 128 + SIGKILL : -1;
                if (answer.kind == REPORT_FAILED) {
                        ret->failure = answer.report.failure;
                        return -1;
                }
                if (answer.kind == REPORT_ENDED)
                        return WIFSIGNALED(answer.end.status) ? 128 + WTERMSIG(answer.end.status) : WEXITSTATUS(answer.end.status);
        }
}

/* The plan lies with the supervisor, whose record says where. */
static int open_plan(int directory) {
        char text[RECORD_MAX], path[64];
        ssize_t n = fields_read(directory, "record", text, sizeof text);
        const char *supervisor = field_of(text, n, "supervisor"), *number = field_of(text, n, "plan_fd");
        if (supervisor == NULL || number == NULL || atoi(supervisor) <= 0 || atoi(number) <= 0)
                return -1;
        snprintf(path, sizeof path, "/proc/%d/fd/%d", atoi(supervisor), atoi(number));
        return open(path, O_RDONLY | O_CLOEXEC);
}

int join(char *const *words, char *const *environment, struct joining *ret) {
        struct winsize size;
        struct wish wish;
        uint64_t old, all = ~0ull;
        *ret = (struct joining) { .plan_fd = -1 };
        if (parse(words, &wish) < 0 || ioctl(0, TIOCGWINSZ, &size) == 0)
                return -1;
        cleanup_fd int runtime = record_open_runtime(environment, 0);
        cleanup_fd int directory = runtime < 0 ? -1 : openat(runtime, wish.name, O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
        cleanup_fd int connection = directory < 0 ? -1 : connect_to(directory);
        if (connection < 0)
                return -1;
        sbx_block_signals(&old);
        cleanup_fd int signals = CALL(SYS_signalfd4, -1, &all, sizeof all, SFD_CLOEXEC);
        int code = signals < 0 || ask(connection, &wish) < 0 ? -1 : attend(connection, signals, ret);
        sbx_restore_signals(old);
        ret->command = wish.command;
        if (code < 0)
                ret->plan_fd = open_plan(directory);
        return code;
}
