/* Limits that are hit while the sandbox lives. */
#include "limit_watch.h"
#include "cgroup.h"
#include "events.h"
#include "sys.h"

#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>

/* The kernel speaks before the victim is killed, and version 2 each time that memory was reclaimed at the limit as well,
 * which may be all the time: so it is looked at again, later each time that there is nothing to tell. */
#define FIRST_NS 50000000ll
#define REST_NS 10000000000ll /* the longest, and after something was told */

enum limit { LIMIT_MEMORY, LIMIT_PIDS };
static const char *const names[] = { [LIMIT_MEMORY] = "memory", [LIMIT_PIDS] = "pids" };
static const char *const keys[] = { [LIMIT_MEMORY] = "oom_kill", [LIMIT_PIDS] = "max" };

static int is_eventfd(const struct watched_limit *l) {
        return l->ready != l->file;
}

static void tell(struct watched_limit *l, uint64_t count) {
        enum limit which = (enum limit) (l - l->watch->limits);
        char more[64];
        if (count <= l->told)
                return;
        l->told = count;
        snprintf(more, sizeof more, ",\"resource\":\"%s\",\"count\":%llu", names[which], (unsigned long long) count);
        events_tell(l->watch->launch, "limit", more);
}

/* To read it from its start is what makes the kernel say the next change. */
static uint64_t counted(const struct watched_limit *l) {
        enum limit which = (enum limit) (l - l->watch->limits);
        char text[1024];
        uint64_t count = 0;
        ssize_t n = pread(l->file, text, sizeof text - 1, 0);
        text[n > 0 ? n : 0] = 0;
        find_number(text, keys[which], &count);
        return count;
}

static void hit(void *owner, int fd, uint32_t events);

static int tell_news(struct watched_limit *l) {
        uint64_t before = l->told;
        tell(l, counted(l));
        return l->told > before;
}

static void look(void *owner) {
        struct watched_limit *l = owner;
        l->looked_ns = loop_now();
        if (tell_news(l))
                loop_at(l->watch->loop, l->looked_ns + REST_NS, look, l);
        else
                loop_add(l->watch->loop, l->ready, is_eventfd(l) ? EPOLLIN : EPOLLPRI, hit, l);
}

static void hit(void *owner, int fd, uint32_t events) {
        struct watched_limit *l = owner;
        uint64_t times;
        int64_t now = loop_now();
        (void) events;
        if (is_eventfd(l) && read(fd, &times, sizeof times) < 0)
                return;
        if (tell_news(l))
                l->pause_ns = REST_NS;
        else if (now - l->looked_ns > REST_NS || l->pause_ns == 0)
                l->pause_ns = FIRST_NS;
        else
                l->pause_ns = l->pause_ns * 2 < REST_NS ? l->pause_ns * 2 : REST_NS;
        loop_remove(l->watch->loop, fd);
        loop_at(l->watch->loop, now + l->pause_ns, look, l);
}

/* cgroup v1's way: cgroup-v1/memory.rst, 9. */
static int open_eventfd(int directory, int file) {
        char text[32];
        cleanup_fd int fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
        if (fd < 0)
                return -errno;
        snprintf(text, sizeof text, "%d %d", fd, file);
        int r = write_text(directory, "cgroup.event_control", text);
        return r < 0 ? r : take_fd(&fd);
}

static void watch(struct watched_limit *l, const char *name, int directory, int by_eventfd) {
        cleanup_fd int file = openat(directory, name, O_RDONLY | O_CLOEXEC);
        if (file < 0 || l->file >= 0)
                return;
        int ready = by_eventfd ? open_eventfd(directory, file) : file;
        if (ready < 0)
                return;
        l->file = take_fd(&file);
        l->ready = ready;
        look(l); /* what came before is news as well */
}

void limits_attend(struct limit_watch *w, const struct sbx_launch *launch, const struct sbx_child *child, struct loop *loop) {
        *w = (struct limit_watch) { .launch = launch, .loop = loop };
        for (uint32_t i = 0; i < sizeof w->limits / sizeof *w->limits; i++)
                w->limits[i] = (struct watched_limit) { .file = -1, .ready = -1, .watch = w };
        const struct sbx_cgroups *g = &child->cgroups;
        for (uint32_t i = 0; i < g->count; i++) {
                const struct sbx_cgroup *at = &g->at[i];
                if (at->controllers & CONTROLLER_MEMORY)
                        watch(&w->limits[LIMIT_MEMORY], g->version == 2 ? "memory.events" : "memory.oom_control", at->directory, g->version != 2);
                if (at->controllers & CONTROLLER_PIDS)
                        watch(&w->limits[LIMIT_PIDS], "pids.events", at->directory, 0);
        }
}

void limits_end(struct limit_watch *w, const struct sbx_exit *end) {
        const uint64_t counts[] = { [LIMIT_MEMORY] = end->usage.oom_kills, [LIMIT_PIDS] = end->usage.pids_limit_hits };
        for (uint32_t i = 0; i < sizeof w->limits / sizeof *w->limits; i++) {
                struct watched_limit *l = &w->limits[i];
                tell(l, counts[i]);
                loop_remove(w->loop, l->ready);
                if (is_eventfd(l))
                        close_fd(&l->ready);
                close_fd(&l->file);
        }
}
