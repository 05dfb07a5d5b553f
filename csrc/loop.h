/* Waits for descriptors and moments, and calls whoever asked for them.  One descriptor stands for all of it, so that
 * somebody else's loop can hold this one. */
#pragma once
#include <stdint.h>

#define LOOP_SOURCES 96u
#define LOOP_TIMERS 24u
#define LOOP_NEVER INT64_MAX
#define LOOP_LONGEST_US ((uint64_t) INT64_MAX / 4000)

typedef void loop_ready(void *owner, int fd, uint32_t events);
typedef void loop_due(void *owner);

struct loop {
        int fd;    /* epoll(7), readable when there is something to do; -1: not opened */
        int clock; /* timerfd, for the earliest of the timers */
        int error; /* of a timer that couldn't be set: a bound that nobody keeps; the next turn gives it back */
        struct loop_source {
                int fd; /* -1: free */
                loop_ready *ready;
                void *owner;
        } sources[LOOP_SOURCES];
        struct loop_timer {
                int64_t due_ns; /* CLOCK_MONOTONIC */
                loop_due *due;  /* NULL: free */
                void *owner;
        } timers[LOOP_TIMERS];
};

int loop_open(struct loop *l);
void loop_close(struct loop *l);

/* events are epoll's.  -ENOSPC where there are LOOP_SOURCES of them already. */
int loop_add(struct loop *l, int fd, uint32_t events, loop_ready *ready, void *owner);
int loop_change(struct loop *l, int fd, uint32_t events);
void loop_remove(struct loop *l, int fd);

/* Calls once at this moment; the one timer of this function and owner is moved, and taken away by LOOP_NEVER. */
int loop_at(struct loop *l, int64_t due_ns, loop_due *due, void *owner);
int64_t loop_now(void);
/* The moment in so many microseconds; LOOP_NEVER where they are LOOP_LONGEST_US or more. */
int64_t loop_after(uint64_t us);

/* Serves what is there; waits for something first where that is asked for.  0, or -errno. */
int loop_turn(struct loop *l, int wait);
