/* What is kept of the calls that were refused, and of those that then succeeded elsewhere. */
#pragma once
#include "trace.h"
#include "trace_flight.h"
#include "trace_table.h"
#include "trace_task.h"

#include <limits.h>

#define RECENT_TASKS 64u
#define RECENT_NAMES 16u

/* What one task failed to find last, all under the same name. */
struct recent {
        pid_t pid;
        uint32_t count;
        char name[NAME_MAX + 1];
        struct {
                uint32_t index;
                uint64_t first;
        } entries[RECENT_NAMES];
};

struct notes {
        const struct sbx_watch *watches;
        struct refusal_table table;
        struct recent recent[RECENT_TASKS];
        int started; /* the program runs, it isn't the launch any more */
        uint8_t texts[4 * PATH_MAX + TASK_BYTES];
};

/* A call that was refused with this errno; flags as of struct sbx_refusal. */
void note_refusal(struct notes *t, const struct flight *f, int error, uint32_t flags);

/* A watched call has ended: a refusal where the watch says so, and a success makes good what failed before. */
void note_ended(struct notes *t, const struct flight *f, int64_t result);

/* The task found what it looked for under this name. */
void note_found(struct notes *t, pid_t pid, const char *name, size_t len);

/* The task has begun a program: a refusal where its mode asks for privileges that it didn't get. */
void note_set_id(struct notes *t, pid_t pid);
