/* A log in systemd's journal: its native protocol (systemd.io/JOURNAL_NATIVE_PROTOCOL), one message a line. */
#include "output.h"
#include "sys.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <sys/un.h>

#define JOURNAL "/run/systemd/journal/socket"
#define PRIORITY_INFO 6

struct journal {
        struct sink sink;
        int fd;
        int goes_on[2]; /* the next piece belongs to the line before it */
        int priority[2];
        char head[256];
};

static const struct sockaddr_un address = { .sun_family = AF_UNIX, .sun_path = JOURNAL };

/* The text has its length before it, so it may hold anything. */
static int send_text(const struct journal *j, int priority, const char *stream, const char *text, size_t size) {
        char fields[64];
        uint64_t length = size;
        int n = snprintf(fields, sizeof fields, "PRIORITY=%d\nSBX_STREAM=%s\nMESSAGE\n", priority, stream);
        struct iovec parts[] = {
                { (void *) (uintptr_t) j->head, strlen(j->head) },
                { fields, (size_t) n },
                { &length, sizeof length }, /* little endian, as all that sbx runs on */
                { (void *) (uintptr_t) text, size },
                { (void *) (uintptr_t) "\n", 1 },
        };
        struct msghdr message = {
                .msg_name = (void *) (uintptr_t) &address,
                .msg_namelen = sizeof address,
                .msg_iov = parts,
                .msg_iovlen = sizeof parts / sizeof *parts,
        };
        if (sendmsg(j->fd, &message, MSG_NOSIGNAL | MSG_DONTWAIT) >= 0)
                return 0;
        return errno == ENOBUFS ? -EAGAIN : -errno;
}

static int write_line(struct sink *k, enum stream stream, const char *text, size_t size, int ends) {
        struct journal *j = (struct journal *) k;
        int priority = j->goes_on[stream] ? j->priority[stream] : PRIORITY_INFO;
        const char *from = text;
        size_t left = size;
        /* As sd-daemon(3) has it. */
        if (!j->goes_on[stream] && size >= 3 && text[0] == '<' && text[1] >= '0' && text[1] <= '7' && text[2] == '>') {
                priority = text[1] - '0';
                from += 3;
                left -= 3;
        }
        if (k->lost > 0) {
                char said[80];
                int n = snprintf(said, sizeof said, "sbx: %llu lines before this one couldn't be kept", (unsigned long long) k->lost);
                int r = send_text(j, 4, "stderr", said, (size_t) n);
                if (r == -EAGAIN)
                        return r;
                if (r >= 0)
                        k->lost = 0;
        }
        int r = left > 0 ? send_text(j, priority, stream_names[stream], from, left) : 0;
        if (r == -EAGAIN)
                return r;
        if (r < 0)
                k->lost++;
        j->goes_on[stream] = !ends;
        j->priority[stream] = priority;
        return 0;
}

static void flush(struct sink *k) {
        (void) k; /* nothing is held */
}

static void close_journal(struct sink *k) {
        struct journal *j = (struct journal *) k;
        close_fd(&j->fd);
        free(j);
}

int journal_open(const char *name, struct sink **ret) {
        struct journal *j = calloc(1, sizeof *j);
        if (j == NULL)
                return -ENOMEM;
        j->sink = (struct sink) { .write = write_line, .flush = flush, .close = close_journal };
        snprintf(j->head, sizeof j->head, "SYSLOG_IDENTIFIER=%s\nSBX_NAME=%s\n", name, name);
        j->fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
        /* Whether anybody is there: a socket that nobody serves refuses this. */
        cleanup_fd int trial = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
        int r = j->fd < 0 || trial < 0 || connect(trial, (const struct sockaddr *) &address, sizeof address) < 0 ? -errno : 0;
        if (r < 0)
                close_journal(&j->sink);
        else
                *ret = &j->sink;
        return r;
}
