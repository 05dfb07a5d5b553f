/* Ops on the process itself: limits, session, descriptors, environment, and at last the program. */
#include "context.h"
#include "probe.h"
#include "sys.h"

#include <string.h>
#include <sys/ioctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <termios.h>

#ifndef TIOCGPTPEER
#define TIOCGPTPEER _IO('T', 0x41)
#endif

struct kernel_rlimit {
        uint64_t soft, hard;
};

int perform_set_rlimit(struct context *c, const void *payload) {
        const struct op_set_rlimit *op = payload;
        struct kernel_rlimit limit = { op->soft, op->hard };
        (void) c;
        return CALL(SYS_prlimit64, 0, (unsigned) op->resource, &limit, NULL);
}

/* The hard limit only, and only upward: a later SetRlimit no longer has the privilege. */
int perform_raise_rlimit(struct context *c, const void *payload) {
        const struct op_raise_rlimit *op = payload;
        struct kernel_rlimit limit;
        (void) c;
        int r = CALL(SYS_prlimit64, 0, (unsigned) op->resource, NULL, &limit);
        if (r < 0 || limit.hard >= op->hard)
                return r;
        limit.hard = op->hard;
        return CALL(SYS_prlimit64, 0, (unsigned) op->resource, &limit, NULL);
}

int perform_set_umask(struct context *c, const void *payload) {
        uint64_t mask = ((const struct op_number *) payload)->value;
        umask(mask == UMASK_OF_CALLER ? c->callers_umask : (mode_t) mask);
        return 0;
}

int enter_directory(const char *path) {
        cleanup_fd int fd = sys_openat2(AT_FDCWD, path, O_PATH | O_DIRECTORY, RESOLVE_NO_MAGICLINKS);
        if (fd < 0)
                return fd;
        return fchdir(fd) < 0 ? -errno : 0;
}

int perform_change_directory(struct context *c, const void *payload) {
        return enter_directory(string_of(c, ((const struct op_path *) payload)->path));
}

int perform_null_stdin(struct context *c, const void *payload) {
        (void) c;
        (void) payload;
        cleanup_fd int fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
        if (fd < 0)
                return -errno;
        return dup2(fd, 0) < 0 ? -errno : 0;
}

int perform_new_session(struct context *c, const void *payload) {
        (void) c;
        (void) payload;
        return setsid() < 0 ? -errno : 0;
}

/* The size and settings of the caller's terminal, before a program can ask for them. */
static void copy_terminal(uint32_t streams, int slave) {
        struct winsize size;
        struct termios settings;
        int fd = __builtin_ctz(streams);
        if (ioctl(fd, TIOCGWINSZ, &size) == 0)
                ioctl(slave, TIOCSWINSZ, &size);
        if (tcgetattr(fd, &settings) == 0)
                tcsetattr(slave, TCSANOW, &settings);
}

static void set_window(uint32_t window, int slave) {
        struct winsize size = { .ws_row = (unsigned short) (window >> 16), .ws_col = (unsigned short) window };
        if (window != 0)
                ioctl(slave, TIOCSWINSZ, &size);
}

int perform_open_terminal(struct context *c, const void *payload) {
        int unlock = 0;
        int r = perform_new_session(c, payload);
        if (r < 0 || c->launch->terminal == 0)
                return r;
        cleanup_fd int master = open("/dev/pts/ptmx", O_RDWR | O_NOCTTY | O_CLOEXEC);
        if (master < 0 || ioctl(master, TIOCSPTLCK, &unlock) < 0)
                return -errno;
        cleanup_fd int slave = ioctl(master, TIOCGPTPEER, O_RDWR | O_NOCTTY | O_CLOEXEC);
        if (slave < 0)
                return -errno;
        /* The payload's own: programs such as ssh and gpg look at the terminal's owner. */
        if (fchmod(slave, 0620) < 0 || ioctl(slave, TIOCSCTTY, 0) < 0)
                return -errno;
        copy_terminal(c->launch->terminal, slave);
        set_window(c->launch->window, slave);
        r = send_with_fd(c->status_fd, "", 1, master) < 0 ? -errno : 0;
        for (int fd = 0; r >= 0 && fd < 3; fd++)
                if ((c->launch->terminal >> fd & 1) && dup2(slave, fd) < 0)
                        r = -errno;
        return r;
}

/* A directory as a standard stream would be a way out of the new root. */
int perform_check_descriptors(struct context *c, const void *payload) {
        struct stat st;
        (void) payload;
        for (int fd = 0; fd < 3; fd++)
                if (fstat(fd, &st) == 0 && S_ISDIR(st.st_mode)) {
                        c->at.detail = (uint32_t) fd;
                        return -EISDIR;
                }
        return 0;
}

int perform_seal_descriptors(struct context *c, const void *payload) {
        (void) payload;
        if (c->launch->served)
                return take_call(c);
        return sys_close_range(3, ~0u, CLOSE_RANGE_CLOEXEC);
}

/* What the caller hands over came through an exec; what closes on exec is sbx's own. Asked before anything else is
 * opened, since that would take the number of one that is missing. */
int prepare_keep_descriptor(struct context *c, const void *payload) {
        if (c->launch->served) /* it comes with the call */
                return 0;
        int flags = fcntl((int) ((const struct op_number *) payload)->value, F_GETFD);
        return flags < 0 ? -errno : flags & FD_CLOEXEC ? -EBADF : 0;
}

static int is_kept(const struct context *c, int fd) {
        for (uint32_t i = 0; i < c->kept_count; i++)
                if (c->kept[i] == fd)
                        return 1;
        return 0;
}

int perform_keep_descriptor(struct context *c, const void *payload) {
        int fd = (int) ((const struct op_number *) payload)->value;
        struct stat st;
        if (c->launch->served && !is_kept(c, fd)) /* what has this number is sbx's own */
                return c->launch->joined ? 0 : -EBADF;
        if (fstat(fd, &st) < 0)
                return -errno;
        if (S_ISDIR(st.st_mode)) /* its parents would be in reach, past the new root */
                return -EISDIR;
        return fcntl(fd, F_SETFD, 0) < 0 ? -errno : 0;
}

static int name_is_passed(const struct context *c, const struct op_set_environment *op, const char *entry) {
        const struct plan_ref *names = plan_list(c->plan, op->pass);
        const char *equals = strchr(entry, '=');
        size_t n = equals ? (size_t) (equals - entry) : 0;
        if (c->secrets != NULL && secrets_hide(c, entry, n))
                return 0;
        for (uint32_t i = 0; n > 0 && i < op->pass.len; i++) {
                const char *name = string_of(c, names[i]);
                size_t len = names[i].len;
                int prefix = len > 0 && name[len - 1] == '*';
                if (prefix ? len - 1 <= n && memcmp(name, entry, len - 1) == 0 : len == n && memcmp(name, entry, n) == 0)
                        return 1;
        }
        return 0;
}

static int name_is_set(char *const *environment, uint32_t count, const char *entry) {
        size_t n = (size_t) (strchr(entry, '=') - entry) + 1;
        for (uint32_t i = 0; i < count; i++)
                if (strncmp(environment[i], entry, n) == 0)
                        return 1;
        return 0;
}

int prepare_environment(struct context *c, const void *payload) {
        const struct op_set_environment *op = payload;
        const struct plan_ref *set = plan_list(c->plan, op->set);
        char *const *callers = c->launch->environment;
        size_t room = op->set.len + 1 + (c->service != NULL ? SERVICE_VARIABLES : 0);
        uint32_t n, ours, given;
        if (c->launch->served)
                return 0;
        for (char *const *e = callers; e && *e; e++)
                room++;
        c->environment = take_memory(c, room, sizeof *c->environment);
        if (c->environment == NULL)
                return -ENOMEM;
        n = ours = c->service != NULL ? service_variables(c, c->environment) : 0;
        for (uint32_t i = 0; i < op->set.len; i++)
                if (ours == 0 || !name_is_set(c->environment, ours, string_of(c, set[i])))
                        c->environment[n++] = (char *) (uintptr_t) string_of(c, set[i]);
        given = n;
        for (char *const *e = callers; op->pass.len > 0 && e && *e; e++)
                if (name_is_passed(c, op, *e) && !name_is_set(c->environment, given, *e))
                        c->environment[n++] = *e;
        return 0;
}

/* The caller's words are overwritten before the program starts. */
static char *copy_word(struct context *c, const char *word) {
        size_t size = strlen(word) + 1;
        char *copy = take_memory(c, size, 1);
        return copy == NULL ? NULL : memcpy(copy, word, size);
}

int prepare_execute(struct context *c, const void *payload) {
        const struct op_execute *op = payload;
        if (c->launch->served) /* the call has words, variables and descriptors */
                return 0;
        const struct plan_ref *words = plan_list(c->plan, op->argv);
        uint32_t n = op->argv.len;
        if (c->launch->argv != NULL)
                for (n = 0; c->launch->argv[n] != NULL; n++)
                        ;
        if (n == 0)
                return -EINVAL;
        c->argv = take_memory(c, n + 1, sizeof *c->argv);
        if (c->argv == NULL)
                return -ENOMEM;
        for (uint32_t i = 0; i < n; i++) {
                c->argv[i] = c->launch->argv ? copy_word(c, c->launch->argv[i]) : (char *) (uintptr_t) string_of(c, words[i]);
                if (c->argv[i] == NULL)
                        return -ENOMEM;
        }
        return 0;
}

/* ENOENT is said of a missing program and of a script's or program's missing interpreter. */
static int execute(struct context *c, const char *program) {
        c->at.detail = DETAIL_NONE; /* of the entry of PATH before this one */
        int r = CALL(SYS_execve, program, c->argv, c->environment);
        if (r == -ENOENT) {
                cleanup_fd int fd = open(program, O_PATH | O_CLOEXEC);
                /* What the caller has open counts as yet: with a low limit there is no number for it. */
                int is_there = fd >= 0 || (errno == EMFILE && access(program, F_OK) == 0);
                c->at.detail = is_there ? DETAIL_INTERPRETER : DETAIL_NOT_FOUND;
        }
        return r;
}

static const char *search_path(char *const *environment) {
        for (; environment && *environment; environment++)
                if (strncmp(*environment, "PATH=", 5) == 0)
                        return *environment + 5;
        return "/usr/local/bin:/usr/bin:/bin";
}

int perform_execute(struct context *c, const void *payload) {
        if (c->launch->probes)
                probe(c->argv);
        const char *name = c->argv[0];
        size_t len = strlen(name);
        int refused = 0;
        (void) payload;
        if (len == 0 || len > PATH_MAX) {
                c->at.detail = DETAIL_NOT_FOUND;
                return -ENOENT;
        }
        if (strchr(name, '/') != NULL)
                return execute(c, name);
        if (len > NAME_MAX)
                return -ENAMETOOLONG;
        for (const char *at = search_path(c->environment), *next; at != NULL; at = next) {
                const char *colon = strchr(at, ':');
                size_t n = colon ? (size_t) (colon - at) : strlen(at);
                next = colon ? colon + 1 : NULL;
                if (n == 0 || n >= PATH_MAX || *at != '/')
                        continue; /* a relative entry would run what lies in the working directory */
                memcpy(c->program, at, n);
                c->program[n] = '/';
                memcpy(c->program + n + 1, name, len + 1);
                int r = execute(c, c->program);
                if (r == -EACCES)
                        refused = 1;
                else if ((r != -ENOENT && r != -ENOTDIR) || c->at.detail == DETAIL_INTERPRETER)
                        return r;
        }
        if (refused) {
                c->at.detail = DETAIL_NONE;
                return -EACCES;
        }
        c->at.detail = DETAIL_NOT_FOUND;
        return -ENOENT;
}
