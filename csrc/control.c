/* Takes requests from the control socket. */
#include "control.h"
#include "context.h"
#include "service.h"
#include "sys.h"

#include <stdio.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/un.h>

#define NS_PER_MS 1000000ll
#define STOP_MS 10000ull
#define LONGEST_MS (100ull * 365 * 86400 * 1000)

static struct connection *connection_of(struct supervision *s, int fd) {
        for (uint32_t i = 0; i < CONTROL_CONNECTIONS; i++)
                if (s->connections[i].fd == fd)
                        return &s->connections[i];
        return NULL;
}

static void hang_up(struct supervision *s, struct connection *c) {
        loop_remove(&s->loop, c->fd);
        close_fd(&c->fd);
        c->waits = 0;
}

/* ---- Requests ---- */

/* The init has what the launch was prepared with, and starts another payload as it did the first. */
static void pass_on(const struct supervision *s, int fd) {
        struct report report = { .kind = REPORT_CALLER };
        if (s->child->has_init)
                send_with_fd(s->child->status_fd, &report, sizeof report, fd);
}

static void kill_all(void *owner) {
        supervision_kill(owner);
}

static void stop(struct supervision *s, const struct control_request *request) {
        if (s->child->service != NULL) {
                uint64_t us = request->value == CONTROL_DEFAULT ? WITHOUT_BOUND : request->value > LONGEST_MS ? WITHOUT_BOUND - 1 : request->value * 1000;
                service_stop(s->child->service, request->signal > 64 ? 0 : (int) request->signal, us, SBX_STOPPED);
                return;
        }
        uint64_t wait_ms = request->value == CONTROL_DEFAULT ? STOP_MS : request->value;
        int64_t wait_ns = wait_ms > LONGEST_MS ? LOOP_NEVER : loop_now() + (int64_t) wait_ms * NS_PER_MS;
        if (request->signal <= 64)
                child_signal(s->child, request->signal == 0 ? SIGTERM : (int) request->signal);
        loop_at(&s->loop, wait_ns, kill_all, s);
}

static void serve_request(void *owner, int fd, uint32_t events) {
        struct supervision *s = owner;
        struct connection *c = connection_of(s, fd);
        struct control_request request;
        (void) events;
        /* Of a request for the init only the head is looked at: what comes with it is not for us. */
        ssize_t n = recv(fd, &request, sizeof request, MSG_PEEK | MSG_DONTWAIT);
        if (n < 0 && errno == EAGAIN)
                return;
        if (n != sizeof request || request.version != CONTROL_VERSION || c->waits) {
                hang_up(s, c);
                return;
        }
        switch (request.verb) {
        case CONTROL_EXEC:
                pass_on(s, fd);
                hang_up(s, c);
                return;
        case CONTROL_STOP:
                stop(s, &request);
                break;
        case CONTROL_WAIT:
                break;
        default:
                hang_up(s, c);
                return;
        }
        c->waits = 1;
        recv(fd, &request, sizeof request, MSG_DONTWAIT); /* what is readable from now on is its end */
}

/* ---- Connections ---- */

static int may_ask(int fd) {
        struct ucred peer;
        socklen_t size = sizeof peer;
        return getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &size) >= 0 && (peer.uid == 0 || peer.uid == geteuid());
}

static void take_connection(void *owner, int listener, uint32_t events) {
        struct supervision *s = owner;
        struct connection *place = connection_of(s, -1);
        cleanup_fd int fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
        (void) events;
        if (fd < 0 || place == NULL || !may_ask(fd) || loop_add(&s->loop, fd, EPOLLIN, serve_request, s) < 0)
                return;
        place->fd = take_fd(&fd);
}

int control_open(struct supervision *s) {
        struct sbx_record *record = s->launch->record;
        struct sockaddr_un address = { .sun_family = AF_UNIX };
        for (uint32_t i = 0; i < CONTROL_CONNECTIONS; i++)
                s->connections[i] = (struct connection) { .fd = -1 };
        /* The runtime directory's path may be longer than an address. */
        snprintf(address.sun_path, sizeof address.sun_path, "/proc/self/fd/%d/control", record->directory_fd);
        cleanup_fd int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
        if (s->child->pidfd > 0)
                unlinkat(record->directory_fd, "control", 0); /* of the supervisor before this one */
        if (fd < 0 || bind(fd, (struct sockaddr *) &address, sizeof address) < 0 || listen(fd, CONTROL_CONNECTIONS) < 0)
                return -errno;
        int r = loop_add(&s->loop, fd, EPOLLIN, take_connection, s);
        if (r >= 0)
                record->control_fd = take_fd(&fd);
        return r;
}

void control_close(struct supervision *s, const struct sbx_exit *end) {
        struct control_end last = { .version = CONTROL_VERSION, .status = end->status, .failure = end->failure, .end = *end };
        for (uint32_t i = 0; i < CONTROL_CONNECTIONS; i++) {
                struct connection *c = &s->connections[i];
                if (c->fd < 0)
                        continue;
                if (c->waits)
                        send(c->fd, &last, sizeof last, MSG_NOSIGNAL | MSG_DONTWAIT);
                hang_up(s, c);
        }
}
