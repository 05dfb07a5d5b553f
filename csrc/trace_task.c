/* Looks into one traced task. */
#include "trace_task.h"
#include "sys.h"

#include <elf.h>
#include <stdio.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/uio.h>
#include <sys/user.h>

#if defined __x86_64__

static int poke(pid_t pid, size_t at, uint64_t value) {
        return ptrace(PTRACE_POKEUSER, pid, at, value) < 0 ? -errno : 0;
}

int task_refuse_call(pid_t pid, int error) {
        int r = poke(pid, offsetof(struct user, regs.orig_rax), ~0ull);
        return r < 0 ? r : poke(pid, offsetof(struct user, regs.rax), (uint64_t) -error);
}

int task_set_first_argument(pid_t pid, uint64_t value) {
        return poke(pid, offsetof(struct user, regs.rdi), value);
}

/* The kernel puts the registers back to before the call, so that the number is in both. */
int task_killed_call(pid_t pid, uint64_t ret_arguments[6]) {
        struct user_regs_struct regs;
        if (ptrace(PTRACE_GETREGS, pid, 0, &regs) < 0 || regs.rax != regs.orig_rax)
                return -1;
        const uint64_t arguments[] = { regs.rdi, regs.rsi, regs.rdx, regs.r10, regs.r8, regs.r9 };
        memcpy(ret_arguments, arguments, sizeof arguments);
        return (int) regs.orig_rax;
}

#elif defined __aarch64__

#ifndef NT_ARM_SYSTEM_CALL
#define NT_ARM_SYSTEM_CALL 0x404
#endif

static int registers(pid_t pid, int set, struct user_regs_struct *regs) {
        struct iovec part = { regs, sizeof *regs };
        return ptrace(set ? PTRACE_SETREGSET : PTRACE_GETREGSET, pid, NT_PRSTATUS, &part) < 0 ? -errno : 0;
}

int task_set_first_argument(pid_t pid, uint64_t value) {
        struct user_regs_struct regs;
        int r = registers(pid, 0, &regs);
        if (r < 0)
                return r;
        regs.regs[0] = value;
        return registers(pid, 1, &regs);
}

int task_refuse_call(pid_t pid, int error) {
        int none = -1;
        struct iovec part = { &none, sizeof none };
        if (ptrace(PTRACE_SETREGSET, pid, NT_ARM_SYSTEM_CALL, &part) < 0)
                return -errno;
        return task_set_first_argument(pid, (uint64_t) -error);
}

int task_killed_call(pid_t pid, uint64_t ret_arguments[6]) {
        struct user_regs_struct regs;
        if (registers(pid, 0, &regs) < 0)
                return -1;
        for (int i = 0; i < 6; i++)
                ret_arguments[i] = regs.regs[i];
        return (int) regs.regs[8];
}

#else
#error "there are no system call filters for this machine either"
#endif

size_t task_read(pid_t pid, uint64_t address, void *to, size_t size) {
        struct iovec mine = { to, size }, theirs = { (void *) (uintptr_t) address, size };
        ssize_t n = process_vm_readv(pid, &mine, 1, &theirs, 1, 0);
        return n < 0 ? 0 : (size_t) n;
}

/* Page by page: what lies behind a string's last page need not be there. */
size_t task_read_string(pid_t pid, uint64_t address, char *to, size_t size, int *ret_cut) {
        size_t have = 0;
        while (have < size) {
                size_t wanted = 4096 - ((address + have) & 4095);
                if (wanted > size - have)
                        wanted = size - have;
                size_t n = task_read(pid, address + have, to + have, wanted);
                char *end = memchr(to + have, 0, n);
                if (end != NULL)
                        return (size_t) (end - to);
                have += n;
                if (n < wanted)
                        break;
        }
        *ret_cut = 1;
        return have;
}

int task_open(pid_t pid, const char *name, int flags) {
        char path[64];
        snprintf(path, sizeof path, "/proc/%d/%s", (int) pid, name);
        int fd = open(path, flags | O_CLOEXEC);
        return fd < 0 ? -errno : fd;
}

size_t task_read_link(pid_t pid, const char *name, char *to, size_t size) {
        char path[64];
        snprintf(path, sizeof path, "/proc/%d/%s", (int) pid, name);
        ssize_t n = readlink(path, to, size);
        return n < 0 ? 0 : (size_t) n;
}

size_t task_directory(pid_t pid, int fd, char *to, size_t size) {
        char name[32];
        if (fd == AT_FDCWD)
                return task_read_link(pid, "cwd", to, size);
        snprintf(name, sizeof name, "fd/%d", fd);
        return task_read_link(pid, name, to, size);
}

size_t task_program(pid_t pid, char to[16]) {
        memset(to, 0, 16);
        cleanup_fd int fd = task_open(pid, "comm", O_RDONLY);
        ssize_t n = fd < 0 ? 0 : read(fd, to, 15);
        size_t len = n < 0 ? 0 : (size_t) n;
        if (len > 0 && to[len - 1] == '\n')
                to[--len] = 0;
        return len;
}
