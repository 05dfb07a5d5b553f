"""System call groups, by name and version.

Composed from the kernel's own tables (sandbox/plan/syscalls.py) and the manual pages of section 2,
by what a call acts on. Every call belongs to exactly one plain group, without conditions; groups of
groups (`service`, `privileged`, `all`) only unite plain ones.

A member is a call (`read`), a call granted under a condition (`socket?1`: only for the arguments
that CONDITIONS["socket?1"] lists), or another group in a fixed version (`@io/1`). A version that has
been released never changes; a new call or a wider grant is a new version. `@io` in a profile means
the newest version of this sbx, `@io/1` pins one.
"""

from typing import Final, Literal

GROUPS: Final[dict[str, dict[int, str]]] = {
    "memory": {
        1: """
        brk mmap munmap mremap mprotect madvise msync mincore mlock mlock2 munlock mlockall
        munlockall memfd_create memfd_secret pkey_mprotect pkey_alloc pkey_free map_shadow_stack
        mseal cachestat"""
    },
    "io": {
        1: """
        read write readv writev pread64 pwrite64 preadv pwritev preadv2 pwritev2 lseek close
        close_range dup dup2 dup3 fcntl flock ioctl?1 pipe pipe2 splice tee vmsplice sendfile
        copy_file_range readahead fadvise64 sync_file_range fsync fdatasync poll ppoll select
        pselect6 epoll_create epoll_create1 epoll_ctl epoll_wait epoll_pwait epoll_pwait2 eventfd
        eventfd2 signalfd signalfd4 timerfd_create timerfd_settime timerfd_gettime"""
    },
    "file": {
        1: """
        open openat openat2 creat stat fstat lstat newfstatat statx access faccessat faccessat2
        getdents getdents64 getcwd chdir fchdir truncate ftruncate fallocate rename renameat
        renameat2 mkdir mkdirat rmdir link linkat unlink unlinkat symlink symlinkat readlink
        readlinkat chmod?1 fchmod?1 fchmodat?1 fchmodat2?1 chown fchown lchown fchownat umask utime
        utimes futimesat utimensat mknod?1 mknodat?1 statfs fstatfs statmount listmount sync syncfs
        setxattr lsetxattr fsetxattr setxattrat getxattr lgetxattr fgetxattr getxattrat listxattr
        llistxattr flistxattr listxattrat removexattr lremovexattr fremovexattr removexattrat
        file_getattr file_setattr name_to_handle_at inotify_init inotify_init1 inotify_add_watch
        inotify_rm_watch"""
    },
    "threads": {
        1: """
        clone clone3 futex futex_waitv futex_wake futex_wait futex_requeue set_robust_list
        get_robust_list set_tid_address gettid rseq rseq_slice_yield membarrier getcpu arch_prctl
        unshare?1 exit"""
    },
    "process": {
        1: """
        fork vfork execve execveat exit_group wait4 waitid getpid getppid getpgid getpgrp setpgid
        getsid setsid pidfd_open process_mrelease prctl personality?1 uname sysinfo getrandom
        getrusage times getrlimit setrlimit prlimit64 uretprobe uprobe"""
    },
    "signals": {
        1: """
        rt_sigaction rt_sigprocmask rt_sigreturn rt_sigpending rt_sigtimedwait rt_sigqueueinfo
        rt_tgsigqueueinfo rt_sigsuspend sigaltstack kill tkill tgkill pidfd_send_signal pause
        restart_syscall"""
    },
    "time": {
        1: """
        time gettimeofday clock_gettime clock_getres nanosleep clock_nanosleep alarm getitimer
        setitimer timer_create timer_settime timer_gettime timer_getoverrun timer_delete"""
    },
    "scheduling": {
        1: """
        sched_yield sched_setparam sched_getparam sched_setscheduler sched_getscheduler
        sched_get_priority_max sched_get_priority_min sched_rr_get_interval sched_setaffinity
        sched_getaffinity sched_setattr sched_getattr getpriority setpriority ioprio_set
        ioprio_get"""
    },
    "credentials": {
        1: """
        getuid geteuid getgid getegid getgroups getresuid getresgid setuid setgid setreuid setregid
        setresuid setresgid setfsuid setfsgid setgroups capget capset"""
    },
    "network": {
        1: """
        socket?1 socketpair?1 bind connect listen accept accept4 shutdown sendto sendmsg sendmmsg
        recvfrom recvmsg recvmmsg getsockname getpeername getsockopt setsockopt"""
    },
    "ipc": {
        1: """
        shmget shmat shmctl shmdt semget semop semctl semtimedop msgget msgsnd msgrcv msgctl mq_open
        mq_unlink mq_timedsend mq_timedreceive mq_notify mq_getsetattr"""
    },
    "confine": {
        1: """
        seccomp landlock_create_ruleset landlock_add_rule landlock_restrict_self lsm_get_self_attr
        lsm_list_modules"""
    },
    "sockets": {1: "socket socketpair"},
    "setid": {1: "chmod fchmod fchmodat fchmodat2 mknod mknodat"},
    "execution-domain": {1: "personality"},
    "ioctl": {1: "ioctl"},
    "aio": {1: "io_setup io_destroy io_getevents io_pgetevents io_submit io_cancel"},
    "io-uring": {1: "io_uring_setup io_uring_enter io_uring_register"},
    "numa": {
        1: """
        mbind get_mempolicy set_mempolicy set_mempolicy_home_node migrate_pages move_pages"""
    },
    "keyring": {1: "add_key request_key keyctl"},
    "debug": {
        1: """
        ptrace process_vm_readv process_vm_writev process_madvise pidfd_getfd kcmp
        perf_event_open"""
    },
    "namespaces": {1: "unshare setns listns"},
    "mount": {
        1: """
        mount umount2 pivot_root chroot open_tree open_tree_attr move_mount fsopen fsconfig fsmount
        fspick mount_setattr"""
    },
    "clock": {1: "settimeofday clock_settime adjtimex clock_adjtime"},
    "modules": {1: "init_module finit_module delete_module kexec_load kexec_file_load"},
    "admin": {
        1: """
        acct bpf fanotify_init fanotify_mark iopl ioperm lsm_set_self_attr open_by_handle_at
        quotactl quotactl_fd reboot sethostname setdomainname swapon swapoff syslog userfaultfd
        vhangup"""
    },
    "obsolete": {
        1: """
        _sysctl afs_syscall create_module epoll_ctl_old epoll_wait_old get_kernel_syms
        get_thread_area getpmsg lookup_dcookie modify_ldt nfsservctl putpmsg query_module
        remap_file_pages security set_thread_area sysfs tuxcall uselib ustat vserver"""
    },
    "program": {
        1: """
        @memory/1 @io/1 @file/1 @threads/1 @process/1 @signals/1 @time/1 @scheduling/1
        @credentials/1 @confine/1"""
    },
    "service": {1: "@program/1 @network/1 @ipc/1"},
    "privileged": {1: "@mount/1 @clock/1 @modules/1 @admin/1"},
    "all": {
        1: """
        @service/1 @sockets/1 @setid/1 @execution-domain/1 @ioctl/1 @aio/1 @io-uring/1 @numa/1
        @keyring/1 @debug/1 @namespaces/1 @privileged/1 @obsolete/1"""
    },
}

MEANINGS: Final[dict[str, str]] = {
    "memory": "a process's own address space",
    "io": "descriptors that are open already, waiting for them, and their ioctls",
    "file": "paths, directories, metadata and extended attributes",
    "threads": "threads and what they synchronise with; no new namespaces",
    "process": "processes: start, end, wait, limits, and what a program learns about itself",
    "signals": "signals and their handlers",
    "time": "reading clocks, sleeping and timers",
    "scheduling": "priorities, affinity and scheduling classes",
    "credentials": "user, group and capability sets of the caller",
    "network": "sockets of the families that ordinary programs use",
    "ipc": "System V IPC and POSIX message queues",
    "confine": "restricting oneself further: seccomp and Landlock",
    "sockets": "sockets of every family, type and protocol",
    "setid": "modes with set-user-ID and set-group-ID bits, device nodes",
    "execution-domain": "every execution domain of personality(2), with address randomisation off",
    "ioctl": "line disciplines of terminals on top of the other ioctls",
    "aio": "the older asynchronous I/O (io_submit)",
    "io-uring": "io_uring, whose operations no filter sees",
    "numa": "placing memory on nodes",
    "keyring": "the kernel's key management",
    "debug": "looking into other processes, performance counters",
    "namespaces": "making and entering namespaces",
    "mount": "mounts, roots and file system contexts",
    "clock": "setting the system's clock",
    "modules": "loading code into the kernel, or another kernel",
    "admin": "administering the whole machine",
    "obsolete": "removed, never built, or kept for old programs only",
    "program": "an ordinary program without sockets",
    "service": "a network service or a tool that uses the network",
    "privileged": "what only an administrator needs",
    "all": "every call that this sbx knows",
}

_AF_UNIX, _AF_INET, _AF_INET6, _AF_NETLINK = 1, 2, 10, 16
_SOCK_STREAM, _SOCK_DGRAM, _SOCK_RAW = 1, 2, 3
_SOCK_TYPE_MASK = 0xF
_NETLINK_ROUTE = 0
_IPPROTO_ICMP, _IPPROTO_TCP, _IPPROTO_UDP, _IPPROTO_ICMPV6, _IPPROTO_MPTCP = 1, 6, 17, 58, 262
_TIOCSETD = 0x5423
_SET_ID = 0o6000
_S_IFMT, _S_IFREG, _S_IFIFO, _S_IFSOCK = 0o170000, 0o100000, 0o010000, 0o140000
_PER_LINUX, _PERSONALITY_QUERY = 0, 0xFFFFFFFF

NAMESPACE_FLAGS: Final = 0x7E020000
"""CLONE_NEWNS, NEWCGROUP, NEWUTS, NEWIPC, NEWUSER, NEWPID, NEWNET: what clone(2) takes."""
CLONE_NEWUSER: Final = 0x10000000
CLONE_NEWTIME: Final = 0x80
"""For unshare(2) only: in clone(2) this bit belongs to the exit signal."""

TIOCSTI: Final = 0x5412
TIOCLINUX: Final = 0x541C

Condition = tuple[
    int, Literal["eq", "ne", "in", "masked-eq"], tuple[int, ...], int, Literal[32, 64]
]
"""Argument, comparison, values, mask (for masked-eq, else 0), width in bits."""


def _no_set_id(index: int) -> tuple[tuple[Condition, ...], ...]:
    return (((index, "masked-eq", (0,), _SET_ID, 32),),)


def _plain_node(index: int) -> tuple[tuple[Condition, ...], ...]:
    types = (0, _S_IFREG, _S_IFIFO, _S_IFSOCK)
    return tuple(((index, "masked-eq", (t,), _S_IFMT | _SET_ID, 32),) for t in types)


CONDITIONS: Final[dict[str, tuple[tuple[Condition, ...], ...]]] = {
    # The protocols leave out SCTP, DCCP, L2TP and SMC, which a socket() call would load. The type
    # matters too: the kernel turns AF_INET with SOCK_PACKET into AF_PACKET.
    "socket?1": (
        ((0, "eq", (_AF_UNIX,), 0, 32),),
        ((0, "eq", (_AF_NETLINK,), 0, 32), (2, "eq", (_NETLINK_ROUTE,), 0, 32)),
        (
            (0, "in", (_AF_INET, _AF_INET6), 0, 32),
            (1, "masked-eq", (_SOCK_RAW,), _SOCK_TYPE_MASK, 32),
        ),
        *(
            (
                (0, "in", (_AF_INET, _AF_INET6), 0, 32),
                (1, "masked-eq", (kind,), _SOCK_TYPE_MASK, 32),
                (
                    2,
                    "in",
                    (0, _IPPROTO_ICMP, _IPPROTO_TCP, _IPPROTO_UDP, _IPPROTO_ICMPV6, _IPPROTO_MPTCP),
                    0,
                    32,
                ),
            )
            for kind in (_SOCK_STREAM, _SOCK_DGRAM)
        ),
    ),
    "socketpair?1": (((0, "eq", (_AF_UNIX,), 0, 32),),),
    "ioctl?1": (((1, "ne", (_TIOCSETD,), 0, 32),),),
    "personality?1": (((0, "in", (_PER_LINUX, _PERSONALITY_QUERY), 0, 32),),),
    "unshare?1": (((0, "masked-eq", (0,), NAMESPACE_FLAGS | CLONE_NEWTIME, 64),),),
    # Files that open(2) creates can still get these bits: the mode of a call as hot as openat is
    # not looked at. There every mount being nosuid is what counts.
    "chmod?1": _no_set_id(1),
    "fchmod?1": _no_set_id(1),
    "fchmodat?1": _no_set_id(2),
    "fchmodat2?1": _no_set_id(2),
    "mknod?1": _plain_node(1),
    "mknodat?1": _plain_node(2),
}
