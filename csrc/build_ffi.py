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
struct sbx_launch {
    const struct plan *plan;
    char *const *argv;
    char *const *environment;
    uint32_t terminal;
    struct sbx_timing *timing;
};
struct sbx_child { pid_t pid; int terminal_fd; ...; };
struct sbx_exit { int32_t status; struct sbx_failure failure; };
int sbx_start(const struct sbx_launch *launch, struct sbx_child *ret_child,
              struct sbx_failure *ret_failure);
int sbx_await_exec(const struct sbx_launch *launch, struct sbx_child *child,
                   struct sbx_failure *ret_failure);
int sbx_reap(const struct sbx_launch *launch, struct sbx_child *child, struct sbx_exit *ret_exit);
int sbx_block_signals(uint64_t *ret_old);
int sbx_restore_signals(uint64_t old);
void sbx_release(struct sbx_child *child);
"""

ffibuilder = cffi.FFI()
ffibuilder.cdef(CDEF)
ffibuilder.set_source(
    "sandbox._core",
    '#include "plan.h"\n#include "executor.h"\n',
    sources=sorted(set(glob.glob("csrc/*.c")) - {"csrc/launcher.c"}),
)
