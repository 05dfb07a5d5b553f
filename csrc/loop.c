/* A table of sources over epoll, and of timers over one timerfd. */
#include "loop.h"
#include "sys.h"

#include <sys/epoll.h>
#include <sys/timerfd.h>
#include <time.h>

#define TURN 16 /* events taken at once */

int64_t loop_now(void) {
        struct timespec now;
        clock_gettime(CLOCK_MONOTONIC, &now);
        return now.tv_sec * 1000000000ll + now.tv_nsec;
}

int64_t loop_after(uint64_t us) {
        return us >= LOOP_LONGEST_US ? LOOP_NEVER : loop_now() + (int64_t) us * 1000;
}

static int64_t earliest(const struct loop *l) {
        int64_t first = LOOP_NEVER;
        for (uint32_t i = 0; i < LOOP_TIMERS; i++)
                if (l->timers[i].due != NULL && l->timers[i].due_ns < first)
                        first = l->timers[i].due_ns;
        return first;
}

static int set_clock(const struct loop *l) {
        int64_t first = earliest(l);
        struct itimerspec when = { 0 };
        if (first != LOOP_NEVER) {
                first = first > 0 ? first : 1; /* 0 would stop the clock */
                when.it_value = (struct timespec) { .tv_sec = first / 1000000000, .tv_nsec = first % 1000000000 };
        }
        return timerfd_settime(l->clock, TFD_TIMER_ABSTIME, &when, NULL) < 0 ? -errno : 0;
}

static void ring(void *owner, int fd, uint32_t events) {
        struct loop *l = owner;
        uint64_t count;
        (void) events;
        if (read(fd, &count, sizeof count) < 0)
                return;
        int64_t now = loop_now();
        for (uint32_t i = 0; i < LOOP_TIMERS; i++) {
                struct loop_timer timer = l->timers[i];
                if (timer.due == NULL || timer.due_ns > now)
                        continue;
                l->timers[i].due = NULL;
                timer.due(timer.owner);
        }
        int r = set_clock(l);
        if (r < 0)
                l->error = r;
}

int loop_open(struct loop *l) {
        *l = (struct loop) { .fd = -1, .clock = -1 };
        for (uint32_t i = 0; i < LOOP_SOURCES; i++)
                l->sources[i].fd = -1;
        l->fd = epoll_create1(EPOLL_CLOEXEC);
        l->clock = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
        int r = l->fd < 0 || l->clock < 0 ? -errno : loop_add(l, l->clock, EPOLLIN, ring, l);
        if (r < 0)
                loop_close(l);
        return r;
}

void loop_close(struct loop *l) {
        close_fd(&l->clock);
        close_fd(&l->fd);
}

static struct loop_source *source_of(struct loop *l, int fd) {
        for (uint32_t i = 0; i < LOOP_SOURCES; i++)
                if (l->sources[i].fd == fd)
                        return &l->sources[i];
        return NULL;
}

static int control(const struct loop *l, int how, int fd, uint32_t events) {
        struct epoll_event event = { .events = events, .data.fd = fd };
        return epoll_ctl(l->fd, how, fd, &event) < 0 ? -errno : 0;
}

int loop_add(struct loop *l, int fd, uint32_t events, loop_ready *ready, void *owner) {
        struct loop_source *place = source_of(l, -1);
        if (place == NULL)
                return -ENOSPC;
        int r = control(l, EPOLL_CTL_ADD, fd, events);
        if (r >= 0)
                *place = (struct loop_source) { fd, ready, owner };
        return r;
}

int loop_change(struct loop *l, int fd, uint32_t events) {
        return control(l, EPOLL_CTL_MOD, fd, events);
}

void loop_remove(struct loop *l, int fd) {
        struct loop_source *found = fd < 0 ? NULL : source_of(l, fd);
        if (found == NULL)
                return;
        control(l, EPOLL_CTL_DEL, fd, 0);
        found->fd = -1;
}

int loop_at(struct loop *l, int64_t due_ns, loop_due *due, void *owner) {
        struct loop_timer *place = NULL;
        for (uint32_t i = 0; i < LOOP_TIMERS; i++) {
                struct loop_timer *timer = &l->timers[i];
                if (timer->due == due && timer->owner == owner)
                        timer->due = NULL;
                if (timer->due == NULL && place == NULL)
                        place = timer;
        }
        int r = due_ns != LOOP_NEVER && place == NULL ? -ENOSPC : 0;
        if (r >= 0 && due_ns != LOOP_NEVER)
                *place = (struct loop_timer) { due_ns, due, owner };
        if (r >= 0)
                r = set_clock(l);
        if (r < 0)
                l->error = r;
        return r;
}

int loop_turn(struct loop *l, int wait) {
        struct epoll_event events[TURN];
        if (l->error < 0)
                return l->error;
        int n = epoll_wait(l->fd, events, TURN, wait ? -1 : 0);
        if (n < 0)
                return errno == EINTR ? 0 : -errno;
        for (int i = 0; i < n; i++) {
                /* What was served before it may have removed it. */
                struct loop_source *found = source_of(l, events[i].data.fd);
                if (found != NULL)
                        found->ready(found->owner, found->fd, events[i].events);
        }
        return 0;
}
