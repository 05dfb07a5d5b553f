/* Follows a sandbox with ptrace(2) and keeps which calls were refused.  For the Python door only.
 *
 * The plan of such a launch has a filter that answers SECCOMP_RET_TRACE with TRACE_WATCHED for calls whose end is to
 * be looked at, and one that answers it with an errno for calls that it refuses.  All other calls run at full speed.
 */
#pragma once
#include "executor.h"

#define SBX_TRACE_CALLS 512u   /* numbers that a watch can be kept for */
#define SBX_TRACE_WATCHED 0x8000u
#define SBX_WATCH_DESCRIPTOR (-2) /* in place of a path: the call is about what the directory's descriptor is */

/* A filter that the plan installs: struct sock_filter, one after the other. */
struct sbx_filter {
        const uint8_t *instructions;
        uint32_t count;
};

/* What is looked at when a call has ended. */
struct sbx_watch {
        uint64_t errors[2]; /* a bit for each errno that counts as a refusal; the first is for success */
        uint64_t masks[6];  /* the bits of each argument that tell one refusal from another */
        int8_t path[2];     /* the arguments that are paths; -1: none, or SBX_WATCH_DESCRIPTOR */
        int8_t directory[2]; /* those that are the directory that a path starts in; -1: the working directory */
        int8_t bytes;       /* the argument that leads to more bytes, such as an address; -1: none */
        int8_t bytes_size;  /* the argument that holds their number */
};

enum {
        REFUSAL_BY_FILTER = 1, /* the call was never carried out */
        REFUSAL_KILLED = 2,    /* the filter killed the process */
        REFUSAL_SIGNAL = 4,    /* error is a signal that the kernel sent, and no call is known */
        REFUSAL_CUT = 8,       /* a text was longer than what is kept, or couldn't be read */
        REFUSAL_LAUNCH = 16,   /* before the program was started */
        REFUSAL_SET_ID = 32,   /* error is 0: a program was started without the privileges that its mode asks for */
};

/* Equal refusals are one entry. */
struct sbx_refusal {
        int32_t call;
        int32_t error;
        uint32_t flags;
        int32_t pid; /* of the last one, as the supervisor counts */
        uint64_t arguments[6]; /* of the first one */
        uint64_t count;
        uint64_t first, last; /* in the order of all refusals */
        uint64_t made_good;   /* how often the same process then succeeded with the same name elsewhere */
        char program[16];     /* of the first one */
        uint32_t sizes[5];    /* of the texts: directory and path, directory and path of a second one, bytes */
        uint8_t *texts;
};

struct sbx_trace;

enum { TRACE_ENDED = 0, TRACE_FULL = 1 };

/* NULL: no memory.  At most capacity entries with max_bytes of texts are kept; watches has SBX_TRACE_CALLS entries.
 * Watches, and filters in the order in which the plan installs them, are the caller's, and outlive this. */
struct sbx_trace *sbx_trace_new(const struct sbx_watch *watches, const struct sbx_filter *filters, uint32_t filter_count,
                                uint32_t capacity, size_t max_bytes);
void sbx_trace_free(struct sbx_trace *t);

/* For struct sbx_launch: the calling thread traces this process and all that it starts. */
int sbx_trace_attach(pid_t pid);

/* Follows until the first process has ended (TRACE_ENDED, *ret_status as of wait4(2)) or the table is full
 * (TRACE_FULL: forget what doesn't matter and call it again; what is oldest then goes if that left no room).
 * In the thread that attached; it must have no other children. -errno where nothing can be followed any more. */
int sbx_trace_run(struct sbx_trace *t, const struct sbx_child *child, int *ret_status);

uint32_t sbx_trace_count(const struct sbx_trace *t);
const struct sbx_refusal *sbx_trace_at(const struct sbx_trace *t, uint32_t index);
/* Takes out every entry for which keep holds 0; the others may move. */
void sbx_trace_keep(struct sbx_trace *t, const uint8_t *keep);
uint64_t sbx_trace_dropped(const struct sbx_trace *t); /* entries that went for want of room */
uint64_t sbx_trace_total(const struct sbx_trace *t);   /* refusals, equal ones counted each */
int sbx_trace_failed(const struct sbx_trace *t, pid_t pid); /* it is among the last that ended with another status than 0 */
int sbx_trace_root(const struct sbx_trace *t);         /* the payload's root while its mounts last, or -1 */
