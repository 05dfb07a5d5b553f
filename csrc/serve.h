/* What passes between a program that uses the library and `sbx _serve`, which starts its sandboxes.
 *
 * Two kinds of SOCK_SEQPACKET sockets.  The control socket carries requests to the server: a plan to keep, or a
 * sandbox of one to start, for which a channel comes along.  The channel carries the call (what runs, with which
 * variables and descriptors) to the sandbox itself, and the reports of the sandbox and of the server back. */
#pragma once
#include "executor.h"

#include <stdint.h>
#include <sys/resource.h>

#define SERVE_VERSION 3u

enum serve_kind {
        SERVE_KEEP = 1,   /* with a descriptor: the plan's bytes */
        SERVE_START = 2,  /* with a descriptor: the channel */
        SERVE_FORGET = 3,
        SERVE_START_LATER = 4, /* as START, once what is being done now has had time to end */
};

struct serve_request {
        uint32_t kind;
        uint32_t version;
        uint64_t plan; /* the number that the program gave it */
};

/* A call: this head, the numbers of the descriptors that come along, then strings with a NUL behind each: the working
 * directory or nothing, the words, the variables.  What is longer than a message lies in a memory file, which is then
 * the first descriptor and has no number. */
#define CALL_MAGIC 0x53425843u
#define CALL_MAX_MESSAGE (32u << 10)
#define CALL_MAX_SIZE (8u << 20)
#define CALL_MAX_DESCRIPTORS 64u
struct serve_call {
        uint32_t magic;
        uint32_t size; /* of the strings */
        uint32_t words, variables;
        uint32_t descriptors;
        uint32_t in_file;
};

/* The sandbox's own last report, and the server's. */
struct serve_end {
        uint32_t kind; /* REPORT_ENDED, REPORT_REAPED */
        int32_t status;
        uint64_t user_us, system_us; /* processor time of all of its processes */
        uint64_t max_rss_kib;        /* of the largest one */
        struct sbx_usage counted;    /* of the server's report: what its cgroups say */
};

static inline struct serve_end end_of(uint32_t kind, int status, const struct rusage *usage) {
        return (struct serve_end) {
                .kind = kind,
                .status = status,
                .user_us = (uint64_t) usage->ru_utime.tv_sec * 1000000u + (uint64_t) usage->ru_utime.tv_usec,
                .system_us = (uint64_t) usage->ru_stime.tv_sec * 1000000u + (uint64_t) usage->ru_stime.tv_usec,
                .max_rss_kib = (uint64_t) usage->ru_maxrss,
        };
}

/* Starts sandboxes until the program ends, which made the control socket and this process. */
int serve(int control, struct sbx_words words);
