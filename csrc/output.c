/* Reads the payload's output from pipes and hands it on line by line, holding no more than a line of each. */
#include "output.h"
#include "record.h"
#include "survive.h"
#include "sys.h"

#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>

#define AT_ONCE 16             /* reads of one stream in a turn */
#define PAUSE_NS 20000000ll    /* where the other side isn't ready */
#define PATIENCE_NS 5000000000ll
#define AT_THE_END 4096        /* reads of one stream: without a PID namespace somebody may go on writing */

const char *const stream_names[2] = { "stdout", "stderr" };

struct pipe_end {
        int reader, writer;
        size_t used;
        char line[LINE_MAX_BYTES];
};

struct output {
        struct service *v; /* NULL before it is attended to */
        struct sink *sink;
        struct pipe_end ends[2];
        int64_t waits_since_ns; /* for the sink; 0: it doesn't */
};

/* ---- Launching ---- */

static int open_sink(struct context *c, const struct op_keep_log *op, struct sink **ret) {
        const struct sbx_record *record = c->launch->record;
        if (op->where == LOG_JOURNAL)
                return journal_open(record->name, ret);
        return log_file_open(c->launch->environment, record->name, op->size, op->files, ret);
}

int prepare_keep_log(struct context *c, const void *payload) {
        if (c->service == NULL)
                return 0;
        struct output *o = calloc(1, sizeof *o);
        if (o == NULL)
                return -ENOMEM;
        c->service->output = o;
        for (int i = 0; i < 2; i++)
                o->ends[i].reader = o->ends[i].writer = -1;
        if (c->kept_fds != NULL) {
                o->ends[STREAM_STDOUT].reader = take_fd(&c->kept_fds[KEPT_STDOUT]);
                o->ends[STREAM_STDERR].reader = take_fd(&c->kept_fds[KEPT_STDERR]);
                return open_sink(c, payload, &o->sink);
        }
        for (int i = 0; i < 2; i++) {
                int ends[2];
                if (pipe2(ends, O_CLOEXEC) < 0)
                        return -errno;
                o->ends[i].reader = ends[0];
                o->ends[i].writer = ends[1];
                if (fcntl(ends[0], F_SETFL, O_NONBLOCK) < 0)
                        return -errno;
        }
        return open_sink(c, payload, &o->sink);
}

int output_reader(const struct output *o, enum stream stream) {
        return o->ends[stream].reader;
}

int perform_keep_log(struct context *c, const void *payload) {
        (void) payload;
        if (c->service == NULL || c->launch->joined) /* what joins has streams of its own */
                return 0;
        for (int i = 0; i < 2; i++)
                if (dup2(c->service->output->ends[i].writer, i + 1) < 0)
                        return -errno;
        return 0;
}

void output_free(struct output *o) {
        if (o == NULL)
                return;
        for (int i = 0; i < 2; i++) {
                close_fd(&o->ends[i].reader);
                close_fd(&o->ends[i].writer);
        }
        if (o->sink != NULL)
                o->sink->close(o->sink);
        free(o);
}

/* ---- Lines ---- */

/* -EAGAIN: the sink isn't ready. One that isn't for long loses what comes: the service is worth more than its log. */
static int hand_over(struct output *o, enum stream stream, const char *text, size_t size, int ends) {
        int r = o->sink->write(o->sink, stream, text, size, ends);
        int64_t now = loop_now();
        if (r != -EAGAIN) {
                o->waits_since_ns = 0;
                return r;
        }
        if (o->waits_since_ns == 0)
                o->waits_since_ns = now;
        if (now - o->waits_since_ns < PATIENCE_NS)
                return -EAGAIN;
        o->sink->lost++;
        return 0;
}

/* What is whole of the bytes at hand. */
static int take_lines(struct output *o, struct pipe_end *e, enum stream stream) {
        size_t at = 0;
        int r = 0;
        while (at < e->used) {
                const char *from = e->line + at, *newline = memchr(from, '\n', e->used - at);
                size_t size = newline != NULL ? (size_t) (newline - from) : e->used - at;
                if (newline == NULL && size < LINE_MAX_BYTES)
                        break;
                r = hand_over(o, stream, from, size, newline != NULL);
                if (r == -EAGAIN)
                        break;
                at += size + (newline != NULL);
        }
        e->used -= at;
        memmove(e->line, e->line + at, e->used);
        return r == -EAGAIN ? r : 0;
}

/* 1: there may be more; 0: nothing now, or at all; -EAGAIN: the sink isn't ready. */
static int take_some(struct output *o, enum stream stream) {
        struct pipe_end *e = &o->ends[stream];
        int r = e->used > 0 ? take_lines(o, e, stream) : 0;
        if (r < 0 || e->reader < 0)
                return r;
        ssize_t n = read(e->reader, e->line + e->used, LINE_MAX_BYTES - e->used);
        if (n < 0)
                return errno == EINTR;
        if (n == 0) {
                if (o->v != NULL)
                        loop_remove(&o->v->s->loop, e->reader);
                close_fd(&e->reader);
                return 0;
        }
        e->used += (size_t) n;
        r = take_lines(o, e, stream);
        return r < 0 ? r : 1;
}

/* ---- In the loop ---- */

static void go_on(void *owner);

static void listen_to(struct output *o, int listens) {
        for (int i = 0; i < 2; i++)
                if (o->ends[i].reader >= 0)
                        loop_change(&o->v->s->loop, o->ends[i].reader, listens ? EPOLLIN : 0);
        loop_at(&o->v->s->loop, listens ? LOOP_NEVER : loop_now() + PAUSE_NS, go_on, o);
}

static void take_turn(struct output *o, enum stream stream) {
        int r = 1;
        for (int i = 0; i < AT_ONCE && r > 0; i++)
                r = take_some(o, stream);
        o->sink->flush(o->sink);
        if (r == -EAGAIN)
                listen_to(o, 0);
}

static void go_on(void *owner) {
        struct output *o = owner;
        listen_to(o, 1);
        take_turn(o, STREAM_STDOUT);
        take_turn(o, STREAM_STDERR);
}

static void readable(void *owner, int fd, uint32_t events) {
        struct output *o = owner;
        (void) events;
        take_turn(o, fd == o->ends[STREAM_STDERR].reader ? STREAM_STDERR : STREAM_STDOUT);
}

int output_attend(struct output *o, struct service *v) {
        int r = 0;
        if (o == NULL)
                return 0;
        o->v = v;
        for (int i = 0; i < 2 && r >= 0; i++) {
                close_fd(&o->ends[i].writer);
                r = loop_add(&v->s->loop, o->ends[i].reader, EPOLLIN, readable, o);
        }
        return r;
}

void output_end(struct output *o) {
        if (o == NULL)
                return;
        for (int i = 0; i < 2; i++) {
                struct pipe_end *e = &o->ends[i];
                struct timespec pause = { .tv_nsec = PAUSE_NS };
                int r = 1;
                for (int reads = 0; r != 0 && reads < AT_THE_END; reads++) {
                        r = take_some(o, i);
                        if (r == -EAGAIN)
                                nanosleep(&pause, NULL);
                }
                while (e->used > 0 && hand_over(o, i, e->line, e->used, 1) == -EAGAIN)
                        nanosleep(&pause, NULL);
                e->used = 0;
        }
        o->sink->flush(o->sink);
}
