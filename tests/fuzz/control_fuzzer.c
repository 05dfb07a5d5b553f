/* libFuzzer on what comes over a live sandbox's control socket: whatever it is, no signal beyond 64 is sent, no bound lies
 * in the past, and a connection either waits for the end or is hung up.  The input is a list of requests, each with its
 * length before it. */
#include <sys/socket.h>
#include <sys/types.h>
static ssize_t take_bytes(int fd, void *to, size_t size, int flags);
#define recv take_bytes
#include "../../csrc/control.c"
#undef recv

#include <stdlib.h>
#include <string.h>

static const uint8_t *message;
static size_t message_size;
static unsigned sent, ended_at;

static ssize_t take_bytes(int fd, void *to, size_t size, int flags) {
        (void) fd, (void) flags;
        memcpy(to, message, size < message_size ? size : message_size);
        return (ssize_t) (size < message_size ? size : message_size);
}

/* The other side counts and judges. */
int64_t loop_now(void) {
        return 1ll << 40;
}
int loop_at(struct loop *l, int64_t due_ns, loop_due *due, void *owner) {
        if (due_ns < loop_now() || due != kill_all)
                abort();
        due(owner);
        return l == NULL;
}
void supervision_kill(struct supervision *s) {
        ended_at += s != NULL;
}
void service_stop(struct service *v, int number, uint64_t wait_us, uint32_t cause) {
        if (v == NULL || number < 0 || number > 64 || cause != SBX_STOPPED)
                abort();
        if (wait_us != WITHOUT_BOUND && wait_us > LONGEST_MS * 1000)
                wait_us = wait_us == WITHOUT_BOUND - 1 ? 0 : (abort(), 0);
        ended_at += wait_us > 0;
}
int kill(pid_t pid, int number) {
        if (pid != 1 << 30 || number < 1 || number > 64)
                abort();
        return 0;
}
ssize_t send_with_fd(int to, const void *data, size_t size, int fd) {
        (void) to, (void) data;
        sent += (unsigned) fd;
        return (ssize_t) size;
}
void loop_remove(struct loop *l, int fd) {
        (void) l, (void) fd;
}
int loop_add(struct loop *l, int fd, uint32_t events, loop_ready *ready, void *owner) {
        (void) l, (void) fd, (void) events, (void) ready, (void) owner;
        return -1;
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size) {
        struct service v = { 0 };
        struct sbx_child child = { .pid = 1 << 30, .has_init = 1, .service = size > 0 && bytes[0] & 1 ? &v : NULL };
        struct supervision s = { .child = &child };
        for (uint32_t i = 0; i < CONTROL_CONNECTIONS; i++)
                s.connections[i] = (struct connection) { .fd = -1 };
        for (size_t at = 1; at < size; at += 1 + message_size) {
                uint32_t number = (uint32_t) at % CONTROL_CONNECTIONS;
                int fd = (1 << 20) + (int) number; /* that no descriptor has */
                s.connections[number].fd = fd;
                message = bytes + at + 1;
                message_size = bytes[at] < size - at - 1 ? bytes[at] : size - at - 1;
                serve_request(&s, fd, EPOLLIN);
                if (connection_of(&s, fd) != NULL && !connection_of(&s, fd)->waits)
                        abort();
        }
        return 0;
}
