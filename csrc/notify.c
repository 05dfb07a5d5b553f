/* Takes messages of sd_notify(3) from the payload, and passes on what it may say. */
#include "notify.h"
#include "foreign.h"
#include "manager.h"
#include "survive.h"
#include "sys.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/un.h>

#define MESSAGE_MAX 4096 /* systemd's own bound */
#define MESSAGE_FDS 253 /* the kernel's bound: what finds no room it closes at once, and in our name */
#define FDNAME_MAX 200
#define FDNAME_PREFIX "sbx." /* what the payload stores can't pass for a socket of the unit's */
#define TURN 64
#define PER_SECOND 1000
#define SECOND_NS 1000000000ll
#define RETRY_NS 20000000ll
#define LAST_TRIES 250 /* for what was stored last: five seconds in all */

/* What the payload has stored and there is no room for: nothing more is taken meanwhile. */
struct stored {
        char text[FDNAME_MAX + 64]; /* empty: nothing waits */
        int fds[MESSAGE_FDS];
        uint32_t fd_count;
};

struct notify {
        int fd;
        const char *path;       /* inside */
        char source[PATH_MAX];  /* outside */
        int from_all;
        struct service *v;
        uint32_t taken; /* since then */
        int64_t since_ns;
        struct stored stored;
};

struct message {
        char text[MESSAGE_MAX + 1];
        pid_t from;
        int fds[MESSAGE_FDS];
        uint32_t fd_count;
};

/* ---- The socket ---- */

/* In the sandbox's directory, which only its owner can look into; the payload gets the one file. */
static int open_socket(struct context *c) {
        struct sockaddr_un address = { .sun_family = AF_UNIX };
        int yes = 1, directory = c->launch->record->directory_fd;
        cleanup_fd int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
        if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_PASSCRED, &yes, sizeof yes) < 0)
                return -errno;
        snprintf(address.sun_path, sizeof address.sun_path, "/proc/self/fd/%d/notify", directory);
        if (bind(fd, (struct sockaddr *) &address, sizeof address) < 0)
                return -errno;
        /* The payload's id may be another one than the supervisor's. */
        return fchmodat(directory, "notify", 0666, 0) < 0 ? -errno : take_fd(&fd);
}

static int path_of(int directory, const char *name, char path[PATH_MAX]) {
        char link[64];
        snprintf(link, sizeof link, "/proc/self/fd/%d", directory);
        ssize_t n = readlink(link, path, PATH_MAX);
        if (n < 0 || (size_t) n + strlen(name) + 2 > PATH_MAX)
                return n < 0 ? -errno : -ENAMETOOLONG;
        path[n] = '/';
        strcpy(path + n + 1, name);
        return 0;
}

int prepare_open_notify(struct context *c, const void *payload) {
        const struct op_open_notify *op = payload;
        if (c->service == NULL)
                return 0;
        struct notify *n = calloc(1, sizeof *n);
        if (n == NULL)
                return -ENOMEM;
        c->service->notify = n;
        n->fd = c->kept_fds != NULL ? take_fd(&c->kept_fds[KEPT_NOTIFY]) : open_socket(c);
        int r = n->fd < 0 ? n->fd : path_of(c->launch->record->directory_fd, "notify", n->source);
        n->path = string_of(c, op->path);
        n->from_all = op->from_all != 0;
        return r;
}

int open_open_notify(struct context *c, const void *payload) {
        (void) payload;
        if (c->service == NULL)
                return 0;
        /* By its path: what the supervisor has opened lies in another mount namespace, where this one is the sandbox's. */
        cleanup_fd int fd = sys_openat2(AT_FDCWD, c->service->notify->source, O_PATH | O_NOFOLLOW, RESOLVE_NO_MAGICLINKS);
        if (fd < 0)
                return fd;
        int tree = clone_tree(fd, ATTR_RDONLY | ATTR_NOSUID | ATTR_NODEV | ATTR_NOEXEC, 0, 0, -1);
        if (tree < 0)
                return tree;
        c->tree_fds[c->at.op] = tree;
        return 0;
}

int perform_open_notify(struct context *c, const void *payload) {
        const struct op_open_notify *op = payload;
        cleanup_fd int tree = c->tree_fds[c->at.op];
        return tree < 0 ? 0 : attach_at(c, tree, string_of(c, op->path), 0, 1);
}

int notify_fd(const struct notify *n) {
        return n->fd;
}

const char *notify_path(const struct notify *n) {
        return n->path;
}

void notify_free(struct notify *n) {
        if (n == NULL)
                return;
        close_foreign(n->stored.fds, n->stored.fd_count);
        if (n->fd >= 0)
                close_foreign(&n->fd, 1); /* with what nobody has read */
        free(n);
}

/* ---- Messages ---- */

/* 1: a message; 0: one that is none; -errno. */
static int receive(const struct notify *n, struct message *ret) {
        union {
                struct cmsghdr head;
                char bytes[CMSG_SPACE(sizeof(struct ucred)) + CMSG_SPACE(MESSAGE_FDS * sizeof(int))];
        } control;
        struct iovec data = { ret->text, MESSAGE_MAX };
        struct msghdr message = { .msg_iov = &data, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof control };
        ret->from = 0;
        ret->fd_count = 0;
        ssize_t size = recvmsg(n->fd, &message, MSG_CMSG_CLOEXEC | MSG_DONTWAIT);
        if (size < 0)
                return -errno;
        for (struct cmsghdr *head = CMSG_FIRSTHDR(&message); head != NULL; head = CMSG_NXTHDR(&message, head)) {
                struct ucred from;
                if (head->cmsg_level != SOL_SOCKET)
                        continue;
                if (head->cmsg_type == SCM_CREDENTIALS) {
                        memcpy(&from, CMSG_DATA(head), sizeof from);
                        ret->from = from.pid;
                } else if (head->cmsg_type == SCM_RIGHTS) {
                        ret->fd_count = (uint32_t) ((head->cmsg_len - CMSG_LEN(0)) / sizeof(int));
                        memcpy(ret->fds, CMSG_DATA(head), ret->fd_count * sizeof(int));
                }
        }
        ret->text[size] = 0;
        return (message.msg_flags & (MSG_TRUNC | MSG_CTRUNC)) == 0 && strlen(ret->text) + 1 >= (size_t) size;
}

static int may_speak(const struct notify *n, pid_t from) {
        if (n->v->child->payload == 0)
                service_take_reports(n->v);
        return from > 0 && (n->from_all || from == n->v->child->payload);
}

/* The value of a line that begins with key; NULL for another line. */
static const char *value_of(const char *line, const char *key) {
        size_t n = strlen(key);
        return strncmp(line, key, n) == 0 && line[n] == '=' ? line + n + 1 : NULL;
}

static int is_one(const char *line, const char *key) {
        const char *value = value_of(line, key);
        return value != NULL && strcmp(value, "1") == 0;
}

static int number_of(const char *text, uint64_t most, uint64_t *ret) {
        uint64_t n = 0;
        if (*text == 0 || strlen(text) > 19 || strspn(text, "0123456789") != strlen(text))
                return 0;
        for (; *text != 0; text++)
                n = n * 10 + (uint64_t) (*text - '0');
        if (n > most)
                return 0;
        *ret = n;
        return 1;
}

/* How many bytes the UTF-8 character at text has; 0: it is none, or one that controls a terminal. */
static size_t character(const uint8_t *text) {
        static const uint32_t least[] = { 0, 0x20, 0xa0, 0x800, 0x10000 };
        size_t n = *text < 0x80 ? 1 : *text >= 0xf0 && *text < 0xf8 ? 4 : *text >= 0xe0 ? 3 : *text >= 0xc0 ? 2 : 0;
        uint32_t code = n == 1 ? *text : *text & (0x7fu >> n);
        if (n == 0 || *text >= 0xf8)
                return 0;
        for (size_t i = 1; i < n; i++) {
                if ((text[i] & 0xc0) != 0x80)
                        return 0;
                code = code << 6 | (text[i] & 0x3f);
        }
        /* Surrogates, and marks that turn the direction of what follows. */
        int bad = (code >= 0xd800 && code < 0xe000) || (code >= 0x202a && code <= 0x202e) || (code >= 0x2066 && code <= 0x2069);
        return code < least[n] || code == 0x7f || code > 0x10ffff || bad ? 0 : n;
}

static void take_status(struct service *v, const char *text) {
        size_t used = 0;
        while (*text != 0) {
                size_t n = character((const uint8_t *) text), taken = n > 0 ? n : 1;
                if (used + taken >= STATUS_MAX)
                        break;
                if (n > 0)
                        memcpy(v->status + used, text, n);
                else
                        v->status[used] = '?';
                used += taken;
                text += taken;
        }
        v->status[used] = 0;
        manager_status(v->manager, v->status);
        service_publish_soon(v);
}

static void take_bus_error(const struct service *v, const char *name) {
        static const char good[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-";
        if (*name != 0 && strlen(name) <= FDNAME_MAX && strspn(name, good) == strlen(name))
                manager_bus_error(v->manager, name);
}

static int is_fdname(const char *name) {
        size_t n = 0;
        for (; name[n] > ' ' && name[n] < 0x7f && name[n] != ':'; n++)
                ;
        return name[n] == 0 && n > 0 && n <= FDNAME_MAX;
}

/* One would lead out of the root of whoever gets it back. */
static int has_directory(const struct message *message) {
        struct stat st;
        for (uint32_t i = 0; i < message->fd_count; i++)
                if (fstat(message->fds[i], &st) < 0 || S_ISDIR(st.st_mode))
                        return 1;
        return 0;
}

/* -EAGAIN: it waits. */
static int hand_over(struct notify *n) {
        struct stored *s = &n->stored;
        int r = *s->text == 0 ? 0 : manager_store(n->v->manager, s->text, s->fds, s->fd_count);
        if (r < 0)
                return r;
        s->fd_count = 0;
        *s->text = 0;
        return 0;
}

static void take_stored(struct notify *n, struct message *message, const char *name, int removes, int polled) {
        struct stored *s = &n->stored;
        if (name == NULL)
                name = "stored"; /* as systemd calls what has no name */
        if (!is_fdname(name) || has_directory(message))
                return;
        snprintf(s->text, sizeof s->text, "%s=1\nFDNAME=" FDNAME_PREFIX "%s%s", removes ? "FDSTOREREMOVE" : "FDSTORE", name, polled ? "" : "\nFDPOLL=0");
        if (!removes) {
                memcpy(s->fds, message->fds, message->fd_count * sizeof *s->fds);
                s->fd_count = message->fd_count;
                message->fd_count = 0;
        }
        hand_over(n);
}

static void take_state(struct service *v, const char *line) {
        if (is_one(line, "READY")) {
                manager_note(v->manager, MANAGER_READY);
                service_enter(v, SERVICE_READY);
        } else if (is_one(line, "RELOADING")) {
                manager_note(v->manager, MANAGER_RELOADING);
                service_enter(v, SERVICE_RELOADING);
        } else if (is_one(line, "STOPPING")) {
                manager_note(v->manager, MANAGER_STOPPING);
                service_enter(v, SERVICE_STOPPING);
        }
}

/* Of the rest MAINPID and NOTIFYACCESS are left out: to the manager the main process is the supervisor, which tells it
 * of the end, and nobody else may speak to it. */
static void take_line(struct service *v, const char *line) {
        const char *value;
        uint64_t number;
        take_state(v, line);
        if ((value = value_of(line, "STATUS")) != NULL)
                take_status(v, value);
        else if ((value = value_of(line, "ERRNO")) != NULL && number_of(value, 4095, &number))
                manager_error(v->manager, (uint32_t) number);
        else if ((value = value_of(line, "BUSERROR")) != NULL)
                take_bus_error(v, value);
        else if ((value = value_of(line, "EXTEND_TIMEOUT_USEC")) != NULL && number_of(value, INT64_MAX, &number)) {
                service_extend(v, number);
                manager_extend(v->manager, number);
        } else if (is_one(line, "WATCHDOG")) {
                service_watched(v);
                manager_note(v->manager, MANAGER_WATCHDOG);
        } else if ((value = value_of(line, "WATCHDOG")) != NULL && strcmp(value, "trigger") == 0)
                service_hung(v);
}

static void take_message(struct notify *n, struct message *message) {
        struct service *v = n->v;
        const char *fdname = NULL;
        int stores = 0, removes = 0, polled = 1;
        if (strcmp(message->text, "BARRIER=1") == 0 && message->fd_count == 1) {
                message->fd_count = 0;
                manager_barrier(v->manager, message->fds[0]);
                return;
        }
        for (char *next = message->text, *line; (line = strsep(&next, "\n")) != NULL;) {
                const char *value;
                stores |= is_one(line, "FDSTORE");
                removes |= is_one(line, "FDSTOREREMOVE");
                if ((value = value_of(line, "FDNAME")) != NULL)
                        fdname = value;
                if ((value = value_of(line, "FDPOLL")) != NULL && strcmp(value, "0") == 0)
                        polled = 0;
                take_line(v, line);
        }
        if (removes || (stores && message->fd_count > 0))
                take_stored(n, message, fdname, removes, polled);
}

/* ---- In the loop ---- */

static void go_on(void *owner);
static void ready(void *owner, int fd, uint32_t events);

static void pause_until(struct notify *n, int64_t due_ns) {
        loop_remove(&n->v->s->loop, n->fd);
        loop_at(&n->v->s->loop, due_ns, go_on, n);
}

static void go_on(void *owner) {
        struct notify *n = owner;
        if (hand_over(n) < 0 || loop_add(&n->v->s->loop, n->fd, EPOLLIN, ready, n) < 0)
                pause_until(n, loop_now() + RETRY_NS);
}

/* Who says too much has to wait, and us it costs no more than this. */
static int is_flood(struct notify *n) {
        int64_t now = loop_now();
        if (now - n->since_ns >= SECOND_NS) {
                n->since_ns = now;
                n->taken = 0;
        }
        if (n->taken++ < PER_SECOND)
                return 0;
        pause_until(n, n->since_ns + SECOND_NS);
        return 1;
}

/* 0: that was all. */
static int take(struct notify *n) {
        struct message message;
        for (int i = 0; i < TURN && hand_over(n) >= 0 && !is_flood(n); i++) {
                int r = receive(n, &message);
                if (r < 0)
                        return 0;
                if (r > 0 && may_speak(n, message.from))
                        take_message(n, &message);
                close_foreign(message.fds, message.fd_count);
        }
        if (*n->stored.text != 0)
                pause_until(n, loop_now() + RETRY_NS);
        return 1;
}

static void ready(void *owner, int fd, uint32_t events) {
        (void) fd;
        (void) events;
        take(owner);
}

void notify_end(struct notify *n) {
        for (int tries = 0; n != NULL && take(n) > 0 && tries < LAST_TRIES; tries++)
                nanosleep(&(struct timespec) { .tv_nsec = RETRY_NS }, NULL);
}

int notify_attend(struct notify *n, struct service *v) {
        if (n == NULL)
                return 0;
        n->v = v;
        return loop_add(&v->s->loop, n->fd, EPOLLIN, ready, n);
}
