/* The loop of a tracer: it lets tasks run, and looks at a call that is watched when it has ended.
 *
 * Calls that a filter refuses stop before they begin, and get their errno from here; with the tracer gone the kernel
 * answers ENOSYS, so that nothing is ever let through.  What is refused is decided here from the launch's own filters:
 * the answer that the kernel tells may be that of a filter of the payload's.  PTRACE_O_EXITKILL ends the tasks with the tracer. */
#include "trace.h"
#include "sys.h"
#include "trace_filter.h"
#include "trace_flight.h"
#include "trace_note.h"

#include <linux/ptrace.h>
#include <linux/seccomp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>

/* <sys/ptrace.h> and <linux/ptrace.h> don't go together. */
long ptrace(int request, ...);

#define OPTIONS                                                                                                        \
        (PTRACE_O_TRACESYSGOOD | PTRACE_O_TRACEFORK | PTRACE_O_TRACEVFORK | PTRACE_O_TRACECLONE | PTRACE_O_TRACEEXEC |       \
         PTRACE_O_TRACEEXIT | PTRACE_O_TRACESECCOMP | PTRACE_O_EXITKILL)

#define UNTRACED 0x00800000ull /* CLONE_UNTRACED */

#define FAILED_TASKS 1024u

struct sbx_trace {
        const struct sbx_filter *filters;
        uint32_t filter_count;
        struct flights flights;
        struct notes notes;
        int root_fd, mount_ns_fd; /* the second keeps the mounts below the first */
        pid_t failed[FAILED_TASKS]; /* those that ended with another status than 0, the last ones */
        uint32_t failed_at;
};

struct sbx_trace *sbx_trace_new(const struct sbx_watch *watches, const struct sbx_filter *filters, uint32_t filter_count,
                                uint32_t capacity, size_t max_bytes) {
        struct sbx_trace *t = calloc(1, sizeof *t);
        if (t == NULL)
                return NULL;
        t->filters = filters;
        t->filter_count = filter_count;
        t->notes.watches = watches;
        t->root_fd = t->mount_ns_fd = -1;
        if (flights_open(&t->flights) < 0 || table_open(&t->notes.table, capacity, max_bytes) < 0) {
                sbx_trace_free(t);
                return NULL;
        }
        return t;
}

void sbx_trace_free(struct sbx_trace *t) {
        table_close(&t->notes.table);
        flights_close(&t->flights);
        close_fd(&t->root_fd);
        close_fd(&t->mount_ns_fd);
        free(t);
}

int sbx_trace_attach(pid_t pid) {
        return ptrace(PTRACE_SEIZE, pid, 0, OPTIONS) < 0 ? -errno : 0;
}

uint32_t sbx_trace_count(const struct sbx_trace *t) {
        return t->notes.table.count;
}

const struct sbx_refusal *sbx_trace_at(const struct sbx_trace *t, uint32_t index) {
        return index < t->notes.table.count ? &t->notes.table.entries[index] : NULL;
}

void sbx_trace_keep(struct sbx_trace *t, const uint8_t *keep) {
        table_keep(&t->notes.table, keep);
}

uint64_t sbx_trace_dropped(const struct sbx_trace *t) {
        return t->notes.table.dropped;
}

uint64_t sbx_trace_total(const struct sbx_trace *t) {
        return t->notes.table.sequence;
}

int sbx_trace_failed(const struct sbx_trace *t, pid_t pid) {
        for (uint32_t i = 0; i < FAILED_TASKS; i++)
                if (t->failed[i] == pid)
                        return 1;
        return 0;
}

int sbx_trace_root(const struct sbx_trace *t) {
        return t->root_fd;
}

/* What a task that has gone since is told is lost, and no loss. */
static void resume(const struct sbx_trace *t, pid_t pid, int sig) {
        ptrace(flight_of(&t->flights, pid) != NULL ? PTRACE_SYSCALL : PTRACE_CONT, pid, 0, (long) sig);
}

/* A filter's refusal has to be carried out here: what can't be refused must not go on. */
static void refuse(pid_t pid, int error) {
        int r = task_refuse_call(pid, error);
        if (r < 0 && r != -ESRCH)
                kill(pid, SIGKILL);
}

/* A child that nobody traces would get ENOSYS for whatever is watched. */
static int keep_child_traced(const struct flight *f) {
        uint64_t flags = 0;
        if (f->call == SYS_clone && (f->arguments[0] & UNTRACED))
                return task_set_first_argument(f->pid, f->arguments[0] & ~UNTRACED);
        if (f->call == SYS_clone3 && task_read(f->pid, f->arguments[0], &flags, sizeof flags) == sizeof flags && (flags & UNTRACED))
                return -ENOSYS; /* the C library then uses clone */
        return 0;
}

/* Two calls would give the payload a say in what becomes of refused ones: a listener of its own, whose "go on" counts
 * before the tracer is asked, and tracing a process that this tracer has missed. */
static int errno_of_rival(const struct flight *f) {
        if (f->call == SYS_seccomp && (uint32_t) f->arguments[0] == SECCOMP_SET_MODE_FILTER && (f->arguments[1] & SECCOMP_FILTER_FLAG_NEW_LISTENER))
                return EBUSY;
        return f->call == SYS_ptrace ? EPERM : 0;
}

/* The errno that the call gets, or 0 where it goes on. */
static int decide(struct sbx_trace *t, const struct flight *f, const struct ptrace_syscall_info *info) {
        struct seccomp_data data = { .nr = (int) info->seccomp.nr, .arch = info->arch, .instruction_pointer = info->instruction_pointer };
        memcpy(data.args, info->seccomp.args, sizeof data.args);
        uint32_t answer = sbx_filters_answer(t->filters, t->filter_count, &data);
        int error = (int) (answer & SECCOMP_RET_DATA);
        if ((answer & SECCOMP_RET_ACTION_FULL) != SECCOMP_RET_TRACE)
                return ENOSYS; /* a filter of the payload's asks for a tracer, which it hasn't got */
        if (error != SBX_TRACE_WATCHED) {
                note_refusal(&t->notes, f, error, REFUSAL_BY_FILTER);
                return error;
        }
        if (info->seccomp.ret_data != SBX_TRACE_WATCHED)
                return ENOSYS;
        error = errno_of_rival(f);
        if (error != 0)
                note_refusal(&t->notes, f, error, 0);
        return error != 0 ? error : -keep_child_traced(f);
}

static void on_filter(struct sbx_trace *t, pid_t pid) {
        struct ptrace_syscall_info info;
        struct flight f = { .pid = pid };
        flight_end(&t->flights, pid);
        int r = ptrace(PTRACE_GET_SYSCALL_INFO, pid, sizeof info, &info) < 0 ? -errno : 0;
        if (r < 0 || info.op != PTRACE_SYSCALL_INFO_SECCOMP) {
                if (r != -ESRCH)
                        kill(pid, SIGKILL);
                return;
        }
        f.call = (int32_t) info.seccomp.nr;
        for (int i = 0; i < 6; i++)
                f.arguments[i] = info.seccomp.args[i];
        int error = decide(t, &f, &info);
        if (error != 0)
                refuse(pid, error);
        else if (f.call >= 0 && (uint32_t) f.call < SBX_TRACE_CALLS)
                flight_begin(&t->flights, pid, f.call, f.arguments); /* without memory for it its end isn't looked at */
        resume(t, pid, 0);
}

static void on_call_ended(struct sbx_trace *t, pid_t pid) {
        struct ptrace_syscall_info info;
        const struct flight *f = flight_of(&t->flights, pid);
        if (f != NULL && ptrace(PTRACE_GET_SYSCALL_INFO, pid, sizeof info, &info) >= 0 && info.op == PTRACE_SYSCALL_INFO_EXIT)
                note_ended(&t->notes, f, info.exit.rval);
        flight_end(&t->flights, pid);
        ptrace(PTRACE_CONT, pid, 0, 0L);
}

/* The thread that called execve goes on under its process's id; all others are gone. */
static void on_exec(struct sbx_trace *t, pid_t pid) {
        unsigned long former = 0;
        char program[16];
        t->notes.started = 1;
        if (t->root_fd < 0)
                t->root_fd = task_open(pid, "root", O_PATH | O_DIRECTORY);
        if (t->mount_ns_fd < 0)
                t->mount_ns_fd = task_open(pid, "ns/mnt", O_RDONLY);
        if (ptrace(PTRACE_GETEVENTMSG, pid, 0, &former) >= 0 && (pid_t) former != pid)
                flight_end(&t->flights, (pid_t) former);
        flight_end(&t->flights, pid);
        size_t len = task_program(pid, program);
        if (len < 15)
                note_found(&t->notes, pid, program, len);
        note_set_id(&t->notes, pid);
        resume(t, pid, 0);
}

static void on_exit_event(struct sbx_trace *t, pid_t pid) {
        unsigned long status = 0;
        flight_end(&t->flights, pid);
        if (ptrace(PTRACE_GETEVENTMSG, pid, 0, &status) >= 0 && WIFSIGNALED((int) status) && WTERMSIG((int) status) == SIGSYS) {
                struct flight f = { .pid = pid };
                f.call = task_killed_call(pid, f.arguments);
                if (f.call >= 0)
                        note_refusal(&t->notes, &f, 0, REFUSAL_BY_FILTER | REFUSAL_KILLED);
        }
        ptrace(PTRACE_CONT, pid, 0, 0L);
}

static void on_signal(struct sbx_trace *t, pid_t pid, int sig) {
        struct flight f = { .pid = pid, .call = -1 };
        if (sig == SIGXFSZ || sig == SIGXCPU)
                note_refusal(&t->notes, &f, sig, REFUSAL_SIGNAL);
        resume(t, pid, sig);
}

static int stops_a_group(int sig) {
        return sig == SIGSTOP || sig == SIGTSTP || sig == SIGTTIN || sig == SIGTTOU;
}

static void on_stop(struct sbx_trace *t, pid_t pid, int status) {
        int sig = WSTOPSIG(status);
        if (sig == (SIGTRAP | 0x80)) {
                on_call_ended(t, pid);
                return;
        }
        switch (status >> 16) {
        case PTRACE_EVENT_SECCOMP:
                on_filter(t, pid);
                break;
        case PTRACE_EVENT_EXEC:
                on_exec(t, pid);
                break;
        case PTRACE_EVENT_EXIT:
                on_exit_event(t, pid);
                break;
        case PTRACE_EVENT_STOP:
                if (stops_a_group(sig))
                        ptrace(PTRACE_LISTEN, pid, 0, 0L);
                else
                        resume(t, pid, 0);
                break;
        case 0:
                on_signal(t, pid, sig);
                break;
        default: /* a child begins */
                resume(t, pid, 0);
        }
}

/* A signal for each stop would wake a thread that waits for something else. */
static void set_stop_signals(int wanted) {
        struct sigaction action;
        if (sigaction(SIGCHLD, NULL, &action) < 0)
                return;
        action.sa_flags = wanted ? action.sa_flags & ~SA_NOCLDSTOP : action.sa_flags | SA_NOCLDSTOP;
        sigaction(SIGCHLD, &action, NULL);
}

static int follow(struct sbx_trace *t, const struct sbx_child *child, int *ret_status) {
        int status;
        if (table_is_full(&t->notes.table))
                table_halve(&t->notes.table);
        for (;;) {
                pid_t pid = waitpid(-1, &status, __WALL | __WNOTHREAD);
                if (pid < 0 && errno == EINTR)
                        continue;
                if (pid < 0)
                        return -errno;
                if (WIFSTOPPED(status)) {
                        on_stop(t, pid, status);
                        if (table_is_full(&t->notes.table))
                                return TRACE_FULL;
                        continue;
                }
                flight_end(&t->flights, pid);
                if (status != 0)
                        t->failed[t->failed_at++ % FAILED_TASKS] = pid;
                if (pid == child->pid) {
                        *ret_status = status;
                        return TRACE_ENDED;
                }
        }
}

int sbx_trace_run(struct sbx_trace *t, const struct sbx_child *child, int *ret_status) {
        struct sigaction before;
        int known = sigaction(SIGCHLD, NULL, &before);
        set_stop_signals(0);
        int r = follow(t, child, ret_status);
        if (known >= 0 && !(before.sa_flags & SA_NOCLDSTOP))
                set_stop_signals(1);
        return r;
}
