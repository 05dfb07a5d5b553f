/* The calls that traced tasks are in: one a task, from its beginning to its end. */
#pragma once
#include <stdint.h>
#include <sys/types.h>

struct flight {
        pid_t pid; /* 0: free */
        int32_t call;
        uint64_t arguments[6];
};

struct flights {
        struct flight *slots; /* a power of two, never more than half full */
        uint32_t mask, count;
};

int flights_open(struct flights *t);
void flights_close(struct flights *t);

/* NULL where the task is in none. */
struct flight *flight_of(const struct flights *t, pid_t pid);

/* Puts the task into this call instead of another that it may have been in; -ENOMEM. */
int flight_begin(struct flights *t, pid_t pid, int32_t call, const uint64_t arguments[6]);
void flight_end(struct flights *t, pid_t pid);
