/* The init's part of service.survive, and the first supervisor's. */
#include "survive.h"
#include "notify.h"
#include "output.h"
#include "service.h"
#include "sys.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/un.h>

/* ---- Launching ---- */

static int open_listener(int directory) {
        struct sockaddr_un address = { .sun_family = AF_UNIX };
        snprintf(address.sun_path, sizeof address.sun_path, "/proc/self/fd/%d/adopt", directory);
        cleanup_fd int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
        if (fd < 0 || bind(fd, (struct sockaddr *) &address, sizeof address) < 0 || listen(fd, 8) < 0)
                return -errno;
        return take_fd(&fd);
}

int prepare_survive(struct context *c, const void *payload) {
        int ends[2];
        (void) payload;
        if (c->service == NULL)
                return 0;
        struct survive *s = calloc(1, sizeof *s);
        if (s == NULL)
                return -ENOMEM;
        *s = (struct survive) { .listener = -1, .leash = -1, .end = -1, .our_leash = -1 };
        c->service->survive = s;
        int directory = c->launch->record->directory_fd;
        s->listener = open_listener(directory);
        s->end = openat(directory, "end", O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW | O_CLOEXEC, 0600);
        if (s->listener < 0 || s->end < 0)
                return s->listener < 0 ? s->listener : -errno;
        if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) < 0)
                return -errno;
        s->leash = ends[0];
        s->our_leash = ends[1];
        return 0;
}

void survive_attend(struct survive *s) {
        if (s == NULL)
                return;
        close_fd(&s->listener);
        close_fd(&s->leash);
        close_fd(&s->end);
}

void survive_free(struct survive *s) {
        if (s == NULL)
                return;
        survive_attend(s);
        close_fd(&s->our_leash);
        free(s);
}

/* ---- In the init ---- */

void survive_enter(struct survive *s) {
        if (s != NULL)
                close_fd(&s->our_leash);
}

static void kept_descriptors(const struct context *c, int fds[KEPT_COUNT]) {
        const struct service *v = c->service;
        fds[KEPT_STATUS] = c->status_reader;
        fds[KEPT_DIRECTORY] = c->launch->record->directory_fd;
        fds[KEPT_PLAN] = c->launch->plan_fd > 0 ? c->launch->plan_fd : -1;
        fds[KEPT_NOTIFY] = v->notify == NULL ? -1 : notify_fd(v->notify);
        fds[KEPT_STDOUT] = v->output == NULL ? -1 : output_reader(v->output, STREAM_STDOUT);
        fds[KEPT_STDERR] = v->output == NULL ? -1 : output_reader(v->output, STREAM_STDERR);
}

uint32_t survive_descriptors(const struct context *c, int fds[SURVIVE_MAX]) {
        const struct survive *s = c->service == NULL ? NULL : c->service->survive;
        if (s == NULL)
                return 0;
        kept_descriptors(c, fds);
        fds[KEPT_COUNT] = s->listener;
        fds[KEPT_COUNT + 1] = s->leash;
        fds[KEPT_COUNT + 2] = s->end;
        return SURVIVE_MAX;
}

void survive_listen(const struct survive *s) {
        if (s != NULL)
                announce_by_signal(s->listener);
}

static int is_held(int leash) {
        char byte;
        return recv(leash, &byte, 1, MSG_PEEK | MSG_DONTWAIT) < 0 && errno == EAGAIN;
}

static int hand_over(const struct context *c, int to) {
        struct survive_message head = { .version = SURVIVE_VERSION };
        int kept[KEPT_COUNT], fds[KEPT_COUNT];
        uint32_t count = 0;
        struct iovec data = { &head, sizeof head };
        kept_descriptors(c, kept);
        for (int i = 0; i < KEPT_COUNT; i++)
                if (kept[i] >= 0) {
                        head.present |= 1u << i;
                        fds[count++] = kept[i];
                }
        return send_with_fds(to, &data, 1, fds, count, MSG_DONTWAIT) < 0 ? -errno : 0;
}

/* Who comes while a supervisor holds its leash is sent away. */
void survive_serve(const struct context *c) {
        struct survive *s = c->service == NULL ? NULL : c->service->survive;
        while (s != NULL) {
                cleanup_fd int fd = accept4(s->listener, NULL, NULL, SOCK_CLOEXEC);
                if (fd < 0)
                        return;
                if (is_held(s->leash) || hand_over(c, fd) < 0)
                        continue;
                close_fd(&s->leash);
                s->leash = take_fd(&fd);
        }
}

void survive_end(const struct survive *s, int status) {
        struct report report = { .kind = REPORT_ENDED, .status = status };
        if (s != NULL && write(s->end, &report, sizeof report) < 0)
                return; /* a limit on the size of files: how it ended isn't known then */
}
