"""Arguments of which the kernel reads only a part of the register.

What is above that part never reaches the kernel's code, so a filter that compares it can be got
past: socket(0x100000028, ...) opens the family 0x28. Conditions on these arguments are cut to what
the kernel reads, whatever width they ask for.

From the kernel's own description of its calls (events/syscalls of tracefs, Linux 6.18), and from
include/linux/syscalls.h for those that it isn't always built with. clone(2) is declared with a long
and takes the low half.
"""

from functools import cache
from typing import Literal

Width = Literal[16, 32, 64]

_INT = """
accept4:03 accept:0 access:1 add_key:4 alarm:0 arch_prctl:0 bind:02 bpf:02 cachestat:03 chown:12
clock_adjtime:0 clock_getres:0 clock_gettime:0 clock_nanosleep:01 clock_settime:0 clone:0
close:0 close_range:012 connect:02 copy_file_range:025 delete_module:1 dup2:01 dup3:012 dup:0
epoll_create1:0 epoll_create:0 epoll_ctl:012 epoll_pwait2:02 epoll_pwait:023 epoll_wait:023
eventfd2:01 eventfd:0 execveat:04 exit:0 exit_group:0 faccessat2:023 faccessat:02 fadvise64:03
fallocate:01 fanotify_init:01 fanotify_mark:013 fchdir:0 fchmod:0 fchmodat2:03 fchmodat:0
fchown:012 fchownat:0234 fcntl:01 fdatasync:0 fgetxattr:0 file_getattr:04 file_setattr:04
finit_module:02 flistxattr:0 flock:01 fremovexattr:0 fsconfig:014 fsetxattr:04 fsmount:012
fsopen:1 fspick:02 fstat:0 fstatfs:0 fsync:0 ftruncate:0 futex:125 futex_requeue:123
futex_wait:35 futex_waitv:124 futex_wake:23 futimesat:0 get_robust_list:0 getdents64:02
getdents:02 getgroups:0 getitimer:0 getpeername:0 getpgid:0 getpriority:01 getrandom:2
getrlimit:0 getrusage:0 getsid:0 getsockname:0 getsockopt:012 getxattrat:02 inotify_add_watch:02
inotify_init1:0 inotify_rm_watch:01 io_setup:0 io_uring_enter:0123 io_uring_register:013
io_uring_setup:0 ioctl:01 ioperm:2 iopl:0 ioprio_get:01 ioprio_set:012 kcmp:012
kexec_file_load:01 keyctl:0 kill:01 landlock_add_rule:013 landlock_create_ruleset:2
landlock_restrict_self:01 lchown:12 linkat:024 listen:01 listmount:3 listns:3 listxattrat:02
lseek:02 lsetxattr:4 lsm_get_self_attr:03 lsm_list_modules:2 lsm_set_self_attr:023 madvise:2
map_shadow_stack:2 mbind:5 membarrier:012 memfd_create:1 memfd_secret:0 migrate_pages:0
mkdirat:0 mknod:2 mknodat:03 mlock2:2 mlockall:0 modify_ldt:0 mount_setattr:02 move_mount:024
move_pages:05 mq_getsetattr:0 mq_notify:0 mq_open:1 mq_timedreceive:0 mq_timedsend:03 msgctl:01
msgget:01 msgrcv:04 msgsnd:03 msync:2 name_to_handle_at:04 newfstatat:03 open:1
open_by_handle_at:02 open_tree:02 open_tree_attr:02 openat2:0 openat:02 perf_event_open:123
personality:0 pidfd_getfd:012 pidfd_open:01 pidfd_send_signal:013 pipe2:1 pkey_free:0
pkey_mprotect:3 poll:12 ppoll:1 prctl:0 pread64:0 preadv2:5 prlimit64:01 process_madvise:034
process_mrelease:01 process_vm_readv:0 process_vm_writev:0 pselect6:0 pwrite64:0 pwritev2:5
quotactl:02 quotactl_fd:012 read:0 readahead:0 readlink:2 readlinkat:03 reboot:012 recvfrom:03
recvmmsg:023 recvmsg:02 removexattrat:02 renameat2:024 renameat:02 request_key:3 rseq:123
rt_sigaction:0 rt_sigprocmask:0 rt_sigqueueinfo:01 rt_tgsigqueueinfo:012
sched_get_priority_max:0 sched_get_priority_min:0 sched_getaffinity:01 sched_getattr:023
sched_getparam:0 sched_getscheduler:0 sched_rr_get_interval:0 sched_setaffinity:01
sched_setattr:02 sched_setparam:0 sched_setscheduler:01 seccomp:01 select:0 semctl:012
semget:012 semop:02 semtimedop:02 sendfile:01 sendmmsg:023 sendmsg:02 sendto:035 set_mempolicy:0
setdomainname:1 setfsgid:0 setfsuid:0 setgid:0 setgroups:0 sethostname:1 setitimer:0 setns:01
setpgid:01 setpriority:012 setregid:01 setresgid:012 setresuid:012 setreuid:01 setrlimit:0
setsockopt:0124 setuid:0 setxattr:4 setxattrat:02 shmat:02 shmctl:01 shmget:02 shutdown:01
signalfd4:03 signalfd:0 socket:012 socketpair:012 splice:025 statmount:3 statx:023 swapon:1
symlinkat:1 sync_file_range:03 syncfs:0 sysfs:0 syslog:02 tee:013 tgkill:012 timer_create:0
timer_delete:0 timer_getoverrun:0 timer_gettime:0 timer_settime:01 timerfd_create:01
timerfd_gettime:0 timerfd_settime:01 tkill:01 umask:0 umount2:1 unlinkat:02 userfaultfd:0
ustat:0 utimensat:03 vmsplice:03 wait4:02 waitid:013 write:0
"""

_MODE = """
chmod:1 creat:1 fchmod:1 fchmodat2:2 fchmodat:2 mkdir:1 mkdirat:2 mknod:1 mknodat:2 mq_open:2
open:2 openat:3
"""


@cache
def _widths() -> dict[tuple[str, int], Width]:
    found: dict[tuple[str, int], Width] = {}
    for table, width in ((_INT, 32), (_MODE, 16)):
        for word in table.split():
            call, _, indices = word.partition(":")
            for index in indices:
                found[call, int(index)] = 16 if width == 16 else 32
    return found


def width(call: str, index: int) -> Width:
    """How many bits of an argument the kernel reads."""
    return _widths().get((call, index), 64)
