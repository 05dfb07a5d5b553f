/* The calls that a filter is asked to refuse. */
#include "probe.h"

#include <fcntl.h>
#include <linux/bpf.h>
#include <linux/fanotify.h>
#include <linux/kcmp.h>
#include <linux/keyctl.h>
#include <linux/perf_event.h>
#include <signal.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

/* An error of the call's own shows that it was carried out so far: the attempt has come through. */
static long reached(long result, int own) {
        if (result >= 0 || errno != own || own == 0)
                return result;
        say("the kernel looked at the arguments: %s", error_name(own));
        return 0;
}

/* ---- Entries other than the machine's own ---- */

#ifdef __x86_64__
static long by_32_bit_entry(long call, long a, long b) {
        long result;
        __asm__ volatile("int $0x80" : "=a"(result) : "a"(call), "b"(a), "c"(b) : "memory", "r8", "r9", "r10", "r11");
        return result < 0 ? failed((int) -result) : result;
}

/* getpid(2) by the entry of 32-bit programs, whose numbers mean other calls to a filter. */
static long try_int80(char **a) {
        (void) a;
        return by_32_bit_entry(20, 0, 0);
}

/* socket(family, type, 0) within the one call for all sockets that 32-bit programs have. */
static long try_socketcall(char **a) {
        uint32_t *words = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_32BIT, -1, 0);
        if (words == MAP_FAILED)
                return -1;
        words[0] = (uint32_t) number(a[0]);
        words[1] = (uint32_t) number(a[1]);
        words[2] = 0;
        return by_32_bit_entry(102, 1, (long) (intptr_t) words);
}

/* getpid(2) of the x32 ABI. */
static long try_x32(char **a) {
        (void) a;
        return syscall(0x40000000 + SYS_getpid);
}
#endif

/* ---- Terminals ---- */

/* A byte for a terminal of the program's own, by a request with these bits above the 32 that the kernel reads. */
static long push_byte(unsigned long high, unsigned long request) {
        char byte = 'x';
        int master = posix_openpt(O_RDWR | O_NOCTTY);
        if (master < 0 || grantpt(master) < 0 || unlockpt(master) < 0 || setsid() < 0)
                return -1;
        int terminal = open(ptsname(master), O_RDWR);
        return terminal < 0 ? -1 : syscall(SYS_ioctl, terminal, high << 32 | request, &byte);
}

static long try_tiocsti(char **a) {
        return push_byte(number(a[0]), TIOCSTI);
}

/* TIOCLINUX pastes into a virtual console; every other terminal doesn't know it. */
static long try_tioclinux(char **a) {
        return reached(push_byte(number(a[0]), TIOCLINUX), ENOTTY);
}

/* On a descriptor that is none: who looks at the request first has refused it. */
static long try_ioctl(char **a) {
        return reached(syscall(SYS_ioctl, -1, number(a[0]), NULL), EBADF);
}

/* ---- A newer clone ---- */

static long wait_for(long child) {
        if (child == 0)
                _exit(0);
        if (child > 0)
                waitpid((pid_t) child, NULL, 0);
        return child;
}

/* Its flags lie in memory, where no filter sees them. */
static long try_clone3(char **a) {
        uint64_t arguments[11] = { number(a[0]), 0, 0, 0, SIGCHLD };
        return wait_for(syscall(SYS_clone3, arguments, sizeof arguments));
}

/* ---- Other processes ---- */

/* A child that lives as long as this process: until the other end of the pipe is closed. */
static pid_t sleeper(void) {
        int ends[2];
        if (pipe(ends) < 0)
                return -1;
        pid_t child = fork();
        if (child == 0) {
                char byte;
                close(ends[1]);
                _exit(read(ends[0], &byte, 1) != 0);
        }
        return child;
}

static char page[4096] __attribute__((aligned(4096))) = "mine";

static long try_traceme(char **a) {
        (void) a;
        return ptrace(PTRACE_TRACEME, 0, NULL, NULL);
}

static long try_seize(char **a) {
        (void) a;
        return ptrace(PTRACE_SEIZE, sleeper(), NULL, NULL);
}

static long try_readv(char **a) {
        char copy[16];
        struct iovec here = { copy, sizeof copy }, there = { page, sizeof copy };
        (void) a;
        return process_vm_readv(sleeper(), &here, 1, &there, 1, 0);
}

static long try_writev(char **a) {
        char text[16] = "theirs";
        struct iovec here = { text, sizeof text }, there = { page, sizeof text };
        (void) a;
        return process_vm_writev(sleeper(), &here, 1, &there, 1, 0);
}

static long try_pidfd_getfd(char **a) {
        int pidfd = (int) syscall(SYS_pidfd_open, sleeper(), 0);
        (void) a;
        return pidfd < 0 ? pidfd : syscall(SYS_pidfd_getfd, pidfd, 1, 0);
}

static long try_kcmp(char **a) {
        (void) a;
        return syscall(SYS_kcmp, getpid(), sleeper(), KCMP_FILE, 1, 1);
}

static long try_madvise(char **a) {
        int pidfd = (int) syscall(SYS_pidfd_open, getpid(), 0);
        struct iovec range = { page, sizeof page };
        (void) a;
        return pidfd < 0 ? pidfd : syscall(SYS_process_madvise, pidfd, &range, 1, MADV_WILLNEED, 0);
}

/* ---- Much of the kernel behind one call ---- */

/* What it leads to is seen by no filter. */
static long try_io_uring(char **a) {
        uint32_t parameters[30] = { 0 };
        (void) a;
        return syscall(SYS_io_uring_setup, 4, parameters);
}

static long try_bpf(char **a) {
        union bpf_attr attributes;
        (void) a;
        memset(&attributes, 0, sizeof attributes);
        attributes.map_type = BPF_MAP_TYPE_ARRAY;
        attributes.key_size = attributes.value_size = 4;
        attributes.max_entries = 1;
        return syscall(SYS_bpf, BPF_MAP_CREATE, &attributes, sizeof attributes);
}

static long try_perf(char **a) {
        struct perf_event_attr attributes = { .type = PERF_TYPE_SOFTWARE, .size = sizeof attributes };
        (void) a;
        attributes.config = PERF_COUNT_SW_TASK_CLOCK;
        attributes.exclude_kernel = attributes.exclude_hv = 1;
        return syscall(SYS_perf_event_open, &attributes, 0, -1, -1, 0);
}

/* A handle finds a file by its number, past every directory. */
static long try_handle(char **a) {
        struct { unsigned size; int type; char bytes[128]; } handle = { .size = sizeof handle.bytes };
        int mount_id, at = open(a[0], O_RDONLY | O_DIRECTORY);
        if (at < 0 || syscall(SYS_name_to_handle_at, at, "", &handle, &mount_id, AT_EMPTY_PATH) < 0)
                return -1;
        return syscall(SYS_open_by_handle_at, at, &handle, O_PATH);
}

/* ---- Calls whose arguments fit in a line, and do no harm even where they are let through ---- */

#define USER_MODE_ONLY 1
#define READ_LAST 3
#define LAST_MESSAGE_MAX 64
#define SYNC_QUOTA (0x800001l << 8)
#define TEXT(words) ((long) (intptr_t) (words))

static const struct {
        const char *name;
        long call, arguments[6];
        int own; /* the error that only comes once the caller is found to be allowed this call */
} calls[] = {
        { "io_uring_enter", SYS_io_uring_enter, { -1 }, EBADF },
        { "io_uring_register", SYS_io_uring_register, { 0 }, EOPNOTSUPP },
        { "userfaultfd", SYS_userfaultfd, { USER_MODE_ONLY }, 0 },
        { "fanotify_init", SYS_fanotify_init, { FAN_CLASS_NOTIF | FAN_REPORT_FID }, 0 },
        { "add_key", SYS_add_key, { TEXT("user"), TEXT("sbx-probe"), TEXT("x"), 1, KEY_SPEC_PROCESS_KEYRING }, 0 },
        { "request_key", SYS_request_key, { TEXT("user"), TEXT("sbx-probe-none") }, ENOKEY },
        { "kexec_load", SYS_kexec_load, { 0, 0, 0, 0xffff }, EINVAL },
        { "kexec_file_load", SYS_kexec_file_load, { -1, -1, 0, 0, 0xffff }, EINVAL },
        { "init_module", SYS_init_module, { 0, 0, TEXT("") }, ENOEXEC },
        { "finit_module", SYS_finit_module, { -1, TEXT(""), 0 }, EBADF },
        { "delete_module", SYS_delete_module, { TEXT("sbx_no_module"), O_NONBLOCK }, ENOENT },
        { "reboot", SYS_reboot, { 0 }, EINVAL },
        { "swapon", SYS_swapon, { TEXT("/sbx-no-file") }, ENOENT },
        { "swapoff", SYS_swapoff, { TEXT("/sbx-no-file") }, ENOENT },
        { "acct", SYS_acct, { TEXT("/sbx-no-file") }, ENOENT },
        { "syslog", SYS_syslog, { READ_LAST, TEXT(page), LAST_MESSAGE_MAX }, 0 },
        { "quotactl", SYS_quotactl, { SYNC_QUOTA }, 0 },
        { "mbind", SYS_mbind, { TEXT(page), sizeof page }, 0 },
        { "set_mempolicy", SYS_set_mempolicy, { 0 }, 0 },
        { "move_pages", SYS_move_pages, { 0 }, 0 },
        { "vhangup", SYS_vhangup, { 0 }, 0 },
        { "lookup_dcookie", SYS_lookup_dcookie, { 0 }, EINVAL },
#ifdef __x86_64__
        { "iopl", SYS_iopl, { 3 }, 0 },
        { "ioperm", SYS_ioperm, { 0x80, 1, 1 }, 0 },
        { "modify_ldt", SYS_modify_ldt, { 0, TEXT(page), 64 }, 0 },
#endif
        { "clock_settime", SYS_clock_settime, { 0x7fffffff }, EINVAL }, /* of a clock that there isn't */
};

/* A call by its name in this table. */
static long try_call(char **a) {
        for (size_t i = 0; i < sizeof calls / sizeof *calls; i++)
                if (strcmp(calls[i].name, a[0]) == 0) {
                        const long *with = calls[i].arguments;
                        setsid(); /* so that nothing hangs up the terminal */
                        return reached(syscall(calls[i].call, with[0], with[1], with[2], with[3], with[4], with[5]), calls[i].own);
                }
        return failed(ENOTSUP);
}

const struct verb filter_verbs[] = {
#ifdef __x86_64__
        { "int80", try_int80, 0 },
        { "socketcall", try_socketcall, 2 },
        { "x32", try_x32, 0 },
#endif
        { "tiocsti", try_tiocsti, 1 },
        { "tioclinux", try_tioclinux, 1 },
        { "ioctl-of-none", try_ioctl, 1 },
        { "clone3", try_clone3, 1 },
        { "ptrace-me", try_traceme, 0 },
        { "ptrace-child", try_seize, 0 },
        { "read-child", try_readv, 0 },
        { "write-child", try_writev, 0 },
        { "take-descriptor", try_pidfd_getfd, 0 },
        { "compare-descriptors", try_kcmp, 0 },
        { "advise-process", try_madvise, 0 },
        { "io-uring", try_io_uring, 0 },
        { "bpf-map", try_bpf, 0 },
        { "count-events", try_perf, 0 },
        { "open-handle", try_handle, 1 },
        { "named-call", try_call, 1 },
        END_OF_VERBS,
};
