/* System calls and constants that a libc we build with may lack; see the kernel's uapi headers for each. */
#pragma once
#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <sched.h>
#include <signal.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#ifndef CLONE_NEWTIME
#define CLONE_NEWTIME 0x00000080
#endif
#ifndef CLONE_NEWCGROUP
#define CLONE_NEWCGROUP 0x02000000
#endif

#ifndef CLONE_INTO_CGROUP
#define CLONE_INTO_CGROUP 0x200000000ull
#endif

#ifndef AT_RECURSIVE
#define AT_RECURSIVE 0x8000
#endif
#define OPEN_TREE_CLONE_FLAG 1u
#define OPEN_TREE_CLOEXEC_FLAG O_CLOEXEC
#define MOVE_MOUNT_FROM_EMPTY 0x00000004u
#define MOVE_MOUNT_TO_EMPTY 0x00000040u
#define FSOPEN_CLOEXEC_FLAG 1u
#define FSMOUNT_CLOEXEC_FLAG 1u
#define FSCONFIG_STRING 1u
#define FSCONFIG_FLAG 0u
#define FSCONFIG_CREATE 6u
#define ATTR_RDONLY 0x1ull
#define ATTR_NOSUID 0x2ull
#define ATTR_NODEV 0x4ull
#define ATTR_NOEXEC 0x8ull
#define ATTR_IDMAP 0x00100000ull
#define PROPAGATION_PRIVATE (1ull << 18)
#define UMOUNT_DETACH 2

#ifndef CLOSE_RANGE_CLOEXEC
#define CLOSE_RANGE_CLOEXEC (1u << 2)
#endif

struct mount_attributes {
        uint64_t set, clear, propagation, userns_fd;
};

struct clone_arguments {
        uint64_t flags, pidfd, child_tid, parent_tid, exit_signal, stack, stack_size, tls, set_tid, set_tid_size, cgroup;
};

struct landlock_ruleset {
        uint64_t fs, net, scoped;
};
struct __attribute__((packed)) landlock_path {
        uint64_t access;
        int32_t parent_fd;
};
struct landlock_port {
        uint64_t access, port;
};
#define LANDLOCK_TYPE_PATH 1
#define LANDLOCK_TYPE_PORT 2

/* musl's and older glibc's tables end before these; the numbers are the same on every architecture */
#ifndef SYS_open_tree
#define SYS_open_tree 428
#define SYS_move_mount 429
#define SYS_fsopen 430
#define SYS_fsconfig 431
#define SYS_fsmount 432
#endif
#ifndef SYS_clone3
#define SYS_clone3 435
#endif
#ifndef SYS_close_range
#define SYS_close_range 436
#endif
#ifndef SYS_openat2
#define SYS_openat2 437
#endif
#ifndef SYS_mount_setattr
#define SYS_mount_setattr 442
#endif
#ifndef SYS_landlock_create_ruleset
#define SYS_landlock_create_ruleset 444
#define SYS_landlock_add_rule 445
#define SYS_landlock_restrict_self 446
#endif

/* The result, or -errno. */
#define CALL(...)                                                                                                      \
        ({                                                                                                             \
                long call_result = syscall(__VA_ARGS__);                                                               \
                call_result < 0 ? -errno : (int) call_result;                                                          \
        })

static inline int sys_openat2(int dir, const char *path, uint64_t flags, uint64_t resolve) {
        struct open_how how = { .flags = flags | O_CLOEXEC, .resolve = resolve };
        int fd;
        /* A rename elsewhere makes a scoped look-up give up with EAGAIN. */
        for (int tries = 0; tries < 64; tries++) {
                fd = CALL(SYS_openat2, dir, path, &how, sizeof how);
                if (fd != -EAGAIN)
                        break;
        }
        return fd;
}
static inline int sys_clone_tree(int fd, int recursive) {
        return CALL(SYS_open_tree, fd, "",
                    (unsigned) (AT_EMPTY_PATH | (recursive ? AT_RECURSIVE : 0)) | OPEN_TREE_CLONE_FLAG | OPEN_TREE_CLOEXEC_FLAG);
}
static inline int sys_mount_setattr(int fd, int recursive, const struct mount_attributes *attributes) {
        return CALL(SYS_mount_setattr, fd, "", (unsigned) (AT_EMPTY_PATH | (recursive ? AT_RECURSIVE : 0)), attributes,
                    sizeof *attributes);
}
/* What fsopen began and fsconfig described, as a mount that isn't attached anywhere. */
static inline int sys_new_mount(int fs, uint64_t attributes) {
        int r = CALL(SYS_fsconfig, fs, FSCONFIG_CREATE, NULL, NULL, 0);
        return r < 0 ? r : CALL(SYS_fsmount, fs, FSMOUNT_CLOEXEC_FLAG, (unsigned) attributes);
}
static inline int sys_close_range(unsigned first, unsigned last, unsigned flags) {
        return CALL(SYS_close_range, first, last, flags);
}

/* By the call itself: finding the vDSO's way costs a process that asks twice more than it saves. */
static inline uint64_t monotonic_ns(void) {
        struct timespec now;
        syscall(SYS_clock_gettime, CLOCK_MONOTONIC, &now);
        return (uint64_t) now.tv_sec * 1000000000u + (uint64_t) now.tv_nsec;
}

/* For what people and other programs read. */
static inline int64_t realtime_ns(void) {
        struct timespec now;
        clock_gettime(CLOCK_REALTIME, &now);
        return now.tv_sec * 1000000000ll + now.tv_nsec;
}

static inline void close_fd(int *fd) {
        if (*fd >= 0)
                close(*fd);
        *fd = -1;
}
#define cleanup_fd __attribute__((cleanup(close_fd)))

static inline int take_fd(int *fd) {
        int taken = *fd;
        *fd = -1;
        return taken;
}
