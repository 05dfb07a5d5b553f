/* Messages to the service manager, no more of them than it can bear. */
#include "manager.h"
#include "cache.h"
#include "foreign.h"
#include "sys.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>

#define BURST 40
#define REFILL_NS 50000000ll /* for one message more */
#define RETRY_NS 100000000ll
#define STATES 3
#define BARRIERS 8
#define TEXT_MAX 256
#define MESSAGE_FDS 253u /* the kernel's bound for a message */
#define STORED_MESSAGES 64u
#define STORED_FDS 256u /* that are held while they wait */
#define LAST_NS 20000000
#define LAST_TRIES 250 /* for what was stored last: five seconds in all */

struct stored {
        struct stored *next;
        char text[TEXT_MAX];
        uint32_t count;
        int fds[];
};

struct manager {
        int fd;
        struct sockaddr_un address;
        socklen_t address_size;
        struct loop *loop; /* NULL before it is attended to */
        uint32_t tokens;
        int64_t filled_ns;

        enum manager_word states[STATES];
        uint32_t state_count;
        int stopping, alive, has_status, has_error, has_bus_error;
        char status[TEXT_MAX], bus_error[TEXT_MAX];
        uint32_t error;
        uint64_t extend_us;
        int barriers[BARRIERS];
        uint32_t barrier_count;
        struct stored *stored, **stored_end;
        uint32_t stored_messages, stored_fds;
};

int manager_open(char *const *environment, struct manager **ret) {
        const char *name = cache_variable(environment, "NOTIFY_SOCKET");
        size_t n = name == NULL ? 0 : strlen(name);
        *ret = NULL;
        if (n == 0)
                return 0;
        struct manager *m = calloc(1, sizeof *m);
        if (m == NULL)
                return -ENOMEM;
        if ((*name != '/' && *name != '@') || n < 2 || n >= sizeof m->address.sun_path) {
                free(m);
                return -EINVAL;
        }
        m->address.sun_family = AF_UNIX;
        memcpy(m->address.sun_path, name, n);
        if (*name == '@')
                m->address.sun_path[0] = 0;
        m->address_size = (socklen_t) (offsetof(struct sockaddr_un, sun_path) + n + (*name == '/'));
        m->stored_end = &m->stored;
        m->tokens = BURST;
        m->filled_ns = loop_now();
        m->fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
        if (m->fd < 0) {
                int error = errno;
                free(m);
                return -error;
        }
        *ret = m;
        return 0;
}

int manager_awaits(char *const *environment) {
        const char *name = cache_variable(environment, "NOTIFY_SOCKET");
        const char *pid = name == NULL || *name == 0 ? NULL : cache_variable(environment, "SYSTEMD_EXEC_PID");
        return pid != NULL && strtol(pid, NULL, 10) == getpid();
}

static void drop_stored(struct manager *m) {
        struct stored *first = m->stored;
        m->stored = first->next;
        if (m->stored == NULL)
                m->stored_end = &m->stored;
        m->stored_messages--;
        m->stored_fds -= first->count;
        close_foreign(first->fds, first->count);
        free(first);
}

void manager_free(struct manager *m) {
        if (m == NULL)
                return;
        while (m->stored != NULL)
                drop_stored(m);
        close_foreign(m->barriers, m->barrier_count);
        close_fd(&m->fd);
        free(m);
}

int manager_attend(struct manager *m, struct supervision *s) {
        if (m != NULL)
                m->loop = &s->loop;
        return 0;
}

/* ---- Sending ---- */

static int take_token(struct manager *m) {
        int64_t now = loop_now(), more = (now - m->filled_ns) / REFILL_NS;
        if (more > 0) {
                m->tokens = more > BURST - (int64_t) m->tokens ? BURST : m->tokens + (uint32_t) more;
                m->filled_ns = now;
        }
        if (m->tokens == 0)
                return -EAGAIN;
        m->tokens--;
        return 0;
}

static int transmit(struct manager *m, const char *text, const int *fds, uint32_t count) {
        union {
                struct cmsghdr head;
                char bytes[CMSG_SPACE(MESSAGE_FDS * sizeof(int))];
        } control = { 0 };
        struct iovec data = { (void *) (uintptr_t) text, strlen(text) };
        struct msghdr message = { .msg_name = &m->address, .msg_namelen = m->address_size, .msg_iov = &data, .msg_iovlen = 1 };
        if (count > MESSAGE_FDS)
                return -E2BIG;
        if (count > 0) {
                message.msg_control = &control;
                message.msg_controllen = CMSG_SPACE(count * sizeof(int));
                control.head.cmsg_level = SOL_SOCKET;
                control.head.cmsg_type = SCM_RIGHTS;
                control.head.cmsg_len = CMSG_LEN(count * sizeof(int));
                memcpy(CMSG_DATA(&control.head), fds, count * sizeof(int));
        }
        if (sendmsg(m->fd, &message, MSG_NOSIGNAL | MSG_DONTWAIT) >= 0)
                return 0;
        return errno == ENOBUFS || errno == ETOOMANYREFS ? -EAGAIN : -errno;
}

static int manager_send(struct manager *m, const char *text, const int *fds, uint32_t count) {
        int r = take_token(m);
        return r < 0 ? r : transmit(m, text, fds, count);
}

void sbx_announce(const struct sbx_launch *launch, const struct sbx_child *child) {
        struct manager *m;
        if (child->service != NULL || !manager_awaits(launch->environment))
                return;
        if (manager_open(launch->environment, &m) < 0 || m == NULL)
                return;
        manager_send(m, "READY=1", NULL, 0);
        manager_free(m);
}

/* The moment is ours: the payload's clock may be another one. */
static void state_text(enum manager_word state, char text[TEXT_MAX]) {
        if (state == MANAGER_RELOADING)
                snprintf(text, TEXT_MAX, "RELOADING=1\nMONOTONIC_USEC=%lld", (long long) loop_now() / 1000);
        else
                strcpy(text, state == MANAGER_READY ? "READY=1" : "STOPPING=1");
}

static int send_states(struct manager *m) {
        char text[TEXT_MAX];
        while (m->state_count > 0) {
                state_text(m->states[0], text);
                int r = manager_send(m, text, NULL, 0);
                if (r == -EAGAIN)
                        return r;
                memmove(m->states, m->states + 1, --m->state_count * sizeof *m->states);
        }
        return 0;
}

static int send_rest(struct manager *m) {
        char text[3 * TEXT_MAX];
        size_t n = 0;
        if (m->has_status)
                n += (size_t) snprintf(text + n, sizeof text - n, "STATUS=%s\n", m->status);
        if (m->has_error)
                n += (size_t) snprintf(text + n, sizeof text - n, "ERRNO=%u\n", m->error);
        if (m->has_bus_error)
                n += (size_t) snprintf(text + n, sizeof text - n, "BUSERROR=%s\n", m->bus_error);
        if (m->alive)
                n += (size_t) snprintf(text + n, sizeof text - n, "WATCHDOG=1\n");
        if (m->extend_us > 0)
                n += (size_t) snprintf(text + n, sizeof text - n, "EXTEND_TIMEOUT_USEC=%llu\n", (unsigned long long) m->extend_us);
        if (n == 0)
                return 0;
        int r = manager_send(m, text, NULL, 0);
        if (r == -EAGAIN)
                return r;
        m->has_status = m->has_error = m->has_bus_error = m->alive = 0;
        m->extend_us = 0;
        return 0;
}

static int send_stored(struct manager *m) {
        while (m->stored != NULL) {
                int r = manager_send(m, m->stored->text, m->stored->fds, m->stored->count);
                if (r == -EAGAIN)
                        return r;
                drop_stored(m);
        }
        return 0;
}

static int send_barriers(struct manager *m) {
        while (m->barrier_count > 0) {
                int r = manager_send(m, "BARRIER=1", m->barriers, 1);
                if (r == -EAGAIN)
                        return r;
                close_foreign(m->barriers, 1);
                memmove(m->barriers, m->barriers + 1, --m->barrier_count * sizeof *m->barriers);
        }
        return 0;
}

static void try_again(void *owner) {
        manager_flush(owner);
}

void manager_flush(struct manager *m) {
        if (m == NULL)
                return;
        int r = send_states(m);
        if (r >= 0)
                r = send_rest(m);
        if (r >= 0)
                r = send_stored(m);
        if (r >= 0)
                r = send_barriers(m);
        if (r < 0 && m->loop != NULL)
                loop_at(m->loop, loop_now() + RETRY_NS, try_again, m);
}

void manager_end(struct manager *m) {
        manager_flush(m);
        for (int tries = 0; m != NULL && m->stored != NULL && tries < LAST_TRIES; tries++) {
                nanosleep(&(struct timespec) { .tv_nsec = LAST_NS }, NULL);
                manager_flush(m);
        }
}

/* ---- What is to be said ---- */

void manager_note(struct manager *m, enum manager_word word) {
        if (m == NULL)
                return;
        if (word == MANAGER_WATCHDOG) {
                m->alive = 1;
        } else if (m->stopping) {
                return; /* said once, and the last */
        } else if (m->state_count == 0 || m->states[m->state_count - 1] != word) {
                /* Of ready and reloading in turn the newest are what counts. */
                if (m->state_count == STATES)
                        memmove(m->states, m->states + 1, --m->state_count * sizeof *m->states);
                m->states[m->state_count++] = word;
                m->stopping = word == MANAGER_STOPPING;
        }
        manager_flush(m);
}

void manager_status(struct manager *m, const char *text) {
        if (m == NULL)
                return;
        snprintf(m->status, sizeof m->status, "%s", text);
        m->has_status = 1;
        manager_flush(m);
}

void manager_error(struct manager *m, uint32_t number) {
        if (m == NULL)
                return;
        m->error = number;
        m->has_error = 1;
        manager_flush(m);
}

void manager_bus_error(struct manager *m, const char *name) {
        if (m == NULL)
                return;
        snprintf(m->bus_error, sizeof m->bus_error, "%s", name);
        m->has_bus_error = 1;
        manager_flush(m);
}

void manager_extend(struct manager *m, uint64_t us) {
        if (m == NULL)
                return;
        m->extend_us = us;
        manager_flush(m);
}

void manager_barrier(struct manager *m, int fd) {
        if (m == NULL || m->barrier_count == BARRIERS) {
                close_foreign(&fd, 1);
                return;
        }
        m->barriers[m->barrier_count++] = fd;
        manager_flush(m);
}

int manager_store(struct manager *m, const char *text, const int *fds, uint32_t count) {
        if (m == NULL) {
                close_foreign(fds, count);
                return 0;
        }
        if (m->stored_messages == STORED_MESSAGES || (m->stored_fds > 0 && m->stored_fds + count > STORED_FDS))
                return -EAGAIN;
        struct stored *new = calloc(1, sizeof *new + count * sizeof *fds);
        if (new == NULL)
                return -EAGAIN;
        snprintf(new->text, sizeof new->text, "%s", text);
        memcpy(new->fds, fds, count * sizeof *fds);
        new->count = count;
        *m->stored_end = new;
        m->stored_end = &new->next;
        m->stored_messages++;
        m->stored_fds += count;
        manager_flush(m);
        return 0;
}
