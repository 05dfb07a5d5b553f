"""What Python sees of the C core: cffi's API mode over every file but the launcher's.

setup.py adds the flags and the limited API.
"""

import glob

import cffi

CDEF = """
typedef int... pid_t;

struct plan { ...; };
int plan_open(const void *base, size_t size, struct plan *ret_plan);
uint64_t plan_checksum(const void *bytes, size_t size);
const char *plan_op_layout(unsigned kind);
const char *plan_op_name(unsigned kind);
const char *plan_stamp_layout(unsigned kind);

struct sbx_failure { uint32_t stage; uint32_t op; int32_t error; uint32_t detail; };
struct sbx_mark { uint32_t stage; uint32_t op; int64_t ns; };
struct sbx_timing { uint32_t count; struct sbx_mark marks[...]; };
struct sbx_record { int runtime_fd; int directory_fd; int control_fd; char name[...]; };
struct sbx_words { char *at; size_t size; };
struct sbx_launch {
    const struct plan *plan;
    char *const *argv;
    struct sbx_words words;
    char *const *environment;
    uint32_t terminal;
    struct sbx_timing *timing;
    int (*attach)(pid_t pid);
    struct sbx_record *record;
    const char *name;
    int plan_fd;
    ...;
};
struct sbx_child { pid_t pid; int terminal_fd; ...; };
struct sbx_usage {
    uint64_t begun_ns, wall_ns;
    uint64_t user_us, system_us;
    uint64_t memory_peak;
    uint64_t read_bytes, write_bytes;
    uint64_t oom_kills;
    uint64_t memory_limit_hits, pids_limit_hits, pids_peak;
    uint64_t throttled_periods, throttled_us;
    uint32_t measured, reserved;
};
struct sbx_exit {
    int32_t status;
    struct sbx_failure failure;
    uint32_t cause;
    int32_t left;
    struct sbx_usage usage;
};
int record_name(const struct sbx_launch *launch, char *name);
int sbx_start(const struct sbx_launch *launch, struct sbx_child *ret_child,
              struct sbx_failure *ret_failure);
int sbx_await_exec(const struct sbx_launch *launch, struct sbx_child *child,
                   struct sbx_failure *ret_failure);
void sbx_announce(const struct sbx_launch *launch, const struct sbx_child *child);
int sbx_reap(const struct sbx_launch *launch, struct sbx_child *child, struct sbx_exit *ret_exit);
void sbx_collect(struct sbx_child *child, int status, struct sbx_exit *ret_exit);
struct supervision;
struct supervision *sbx_attend(const struct sbx_launch *launch, struct sbx_child *child,
                               int *ret_error);
int sbx_attend_fd(const struct supervision *s);
int sbx_attend_turn(struct supervision *s);
void sbx_attend_signal(struct supervision *s, int number);
void sbx_attend_end(struct supervision *s, const struct sbx_exit *end);
int sbx_block_signals(uint64_t *ret_old);
int sbx_restore_signals(uint64_t old);
void sbx_release(struct sbx_child *child);

struct sbx_filter { const uint8_t *instructions; uint32_t count; };
struct sbx_watch {
    uint64_t errors[2];
    uint64_t masks[6];
    int8_t path[2];
    int8_t directory[2];
    int8_t bytes;
    int8_t bytes_size;
};
struct sbx_refusal {
    int32_t call;
    int32_t error;
    uint32_t flags;
    int32_t pid;
    uint64_t arguments[6];
    uint64_t count;
    uint64_t first, last;
    uint64_t made_good;
    char program[16];
    uint32_t sizes[5];
    uint8_t *texts;
};
uint32_t sbx_filters_answer(const struct sbx_filter *filters, uint32_t count, const void *data);
struct sbx_trace;
struct sbx_trace *sbx_trace_new(const struct sbx_watch *watches, const struct sbx_filter *filters,
                                uint32_t filter_count, uint32_t capacity, size_t max_bytes);
void sbx_trace_free(struct sbx_trace *t);
int sbx_trace_attach(pid_t pid);
int sbx_trace_run(struct sbx_trace *t, const struct sbx_child *child, int *ret_status);
uint32_t sbx_trace_count(const struct sbx_trace *t);
const struct sbx_refusal *sbx_trace_at(const struct sbx_trace *t, uint32_t index);
void sbx_trace_keep(struct sbx_trace *t, const uint8_t *keep);
uint64_t sbx_trace_dropped(const struct sbx_trace *t);
uint64_t sbx_trace_total(const struct sbx_trace *t);
int sbx_trace_failed(const struct sbx_trace *t, pid_t pid);
int sbx_trace_root(const struct sbx_trace *t);
"""

ffibuilder = cffi.FFI()
ffibuilder.cdef(CDEF)
ffibuilder.set_source(
    "sandbox._core",
    '#include "plan.h"\n#include "executor.h"\n#include "record.h"\n#include "trace.h"\n#include "trace_filter.h"\n',
    sources=sorted(set(glob.glob("csrc/*.c")) - {"csrc/launcher.c"}),
)
