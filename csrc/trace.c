/* The loop of a tracer: it lets tasks run, and looks at a call that is watched when it has ended.
 *
 * Calls that a filter refuses stop before they begin, and get their errno from here; with the tracer gone the kernel
 * answers ENOSYS, so that nothing is ever let through.  PTRACE_O_EXITKILL ends the tasks with the tracer. */
#include "trace.h"
#include "sys.h"
#include "trace_table.h"
#include "trace_task.h"

#include <linux/ptrace.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>

/* <sys/ptrace.h> and <linux/ptrace.h> don't go together. */
long ptrace(int request, ...);

#define OPTIONS                                                                                                        \
        (PTRACE_O_TRACESYSGOOD | PTRACE_O_TRACEFORK | PTRACE_O_TRACEVFORK | PTRACE_O_TRACECLONE | PTRACE_O_TRACEEXEC |       \
         PTRACE_O_TRACEEXIT | PTRACE_O_TRACESECCOMP | PTRACE_O_EXITKILL)

#define UNTRACED 0x00800000ull /* CLONE_UNTRACED */

/* A call between its beginning and its end. */
struct flight {
        pid_t pid; /* 0: free */
        int32_t call;
        uint64_t arguments[6];
};

#define RECENT_TASKS 64u
#define RECENT_NAMES 16u
#define FAILED_TASKS 1024u

/* What one task failed to find last, all under the same name. */
struct recent {
        pid_t pid;
        uint32_t count;
        char name[NAME_MAX + 1];
        struct {
                uint32_t index;
                uint64_t first;
        } entries[RECENT_NAMES];
};

struct sbx_trace {
        const struct sbx_watch *watches;
        struct refusal_table table;
        struct flight *flights;
        uint32_t flight_mask, flight_count;
        struct recent recent[RECENT_TASKS];
        int root_fd, mount_ns_fd; /* the second keeps the mounts below the first */
        int started;
        pid_t failed[FAILED_TASKS]; /* those that ended with another status than 0, the last ones */
        uint32_t failed_at;
        uint8_t texts[4 * PATH_MAX + TASK_BYTES];
};

struct sbx_trace *sbx_trace_new(const struct sbx_watch *watches, uint32_t capacity, size_t max_bytes) {
        struct sbx_trace *t = calloc(1, sizeof *t);
        if (t == NULL)
                return NULL;
        t->watches = watches;
        t->root_fd = t->mount_ns_fd = -1;
        t->flight_mask = 63;
        t->flights = calloc(t->flight_mask + 1, sizeof *t->flights);
        if (t->flights == NULL || table_open(&t->table, capacity, max_bytes) < 0) {
                sbx_trace_free(t);
                return NULL;
        }
        return t;
}

void sbx_trace_free(struct sbx_trace *t) {
        table_close(&t->table);
        close_fd(&t->root_fd);
        close_fd(&t->mount_ns_fd);
        free(t->flights);
        free(t);
}

int sbx_trace_attach(pid_t pid) {
        return ptrace(PTRACE_SEIZE, pid, 0, OPTIONS) < 0 ? -errno : 0;
}

uint32_t sbx_trace_count(const struct sbx_trace *t) {
        return t->table.count;
}

const struct sbx_refusal *sbx_trace_at(const struct sbx_trace *t, uint32_t index) {
        return index < t->table.count ? &t->table.entries[index] : NULL;
}

void sbx_trace_keep(struct sbx_trace *t, const uint8_t *keep) {
        table_keep(&t->table, keep);
}

uint64_t sbx_trace_dropped(const struct sbx_trace *t) {
        return t->table.dropped;
}

uint64_t sbx_trace_total(const struct sbx_trace *t) {
        return t->table.sequence;
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

/* ---- Calls under way ---- */

static uint32_t flight_slot(const struct sbx_trace *t, pid_t pid) {
        return ((uint32_t) pid * 2654435761u) & t->flight_mask;
}

static struct flight *flight_of(const struct sbx_trace *t, pid_t pid) {
        for (uint32_t at = flight_slot(t, pid); t->flights[at].pid != 0; at = (at + 1) & t->flight_mask)
                if (t->flights[at].pid == pid)
                        return &t->flights[at];
        return NULL;
}

static int flights_grow(struct sbx_trace *t) {
        struct flight *old = t->flights;
        uint32_t size = t->flight_mask + 1;
        struct flight *bigger = calloc(2 * (size_t) size, sizeof *bigger);
        if (bigger == NULL)
                return -ENOMEM;
        t->flights = bigger;
        t->flight_mask = 2 * size - 1;
        for (uint32_t i = 0; i < size; i++) {
                uint32_t at = flight_slot(t, old[i].pid);
                if (old[i].pid == 0)
                        continue;
                while (bigger[at].pid != 0)
                        at = (at + 1) & t->flight_mask;
                bigger[at] = old[i];
        }
        free(old);
        return 0;
}

static int flight_begin(struct sbx_trace *t, pid_t pid, int32_t call, const uint64_t arguments[6]) {
        struct flight *f = flight_of(t, pid);
        if (f == NULL) {
                if (2 * (t->flight_count + 1) > t->flight_mask && flights_grow(t) < 0)
                        return -ENOMEM;
                uint32_t at = flight_slot(t, pid);
                while (t->flights[at].pid != 0)
                        at = (at + 1) & t->flight_mask;
                f = &t->flights[at];
                t->flight_count++;
        }
        f->pid = pid;
        f->call = call;
        memcpy(f->arguments, arguments, sizeof f->arguments);
        return 0;
}

static void flight_end(struct sbx_trace *t, pid_t pid) {
        struct flight *f = flight_of(t, pid);
        if (f == NULL)
                return;
        uint32_t hole = (uint32_t) (f - t->flights), at = hole;
        t->flight_count--;
        for (;;) { /* what was pushed past the hole moves up to it */
                t->flights[hole].pid = 0;
                for (;;) {
                        at = (at + 1) & t->flight_mask;
                        if (t->flights[at].pid == 0)
                                return;
                        uint32_t home = flight_slot(t, t->flights[at].pid);
                        if (((at - home) & t->flight_mask) >= ((at - hole) & t->flight_mask))
                                break;
                }
                t->flights[hole] = t->flights[at];
                hole = at;
        }
}

/* ---- What was refused ---- */

static uint32_t add_path(struct sbx_trace *t, const struct flight *f, int which, struct sbx_refusal *r, uint32_t at) {
        const struct sbx_watch *watch = &t->watches[f->call];
        int path = watch->path[which], directory = watch->directory[which], cut = 0;
        char text[PATH_MAX];
        if (path < 0 && path != SBX_WATCH_DESCRIPTOR)
                return at;
        size_t n = path < 0 ? 0 : task_read_string(f->pid, f->arguments[path], text, sizeof text, &cut);
        if (n == 0 || text[0] != '/') {
                int fd = directory < 0 ? AT_FDCWD : (int) f->arguments[directory];
                r->sizes[2 * which] = (uint32_t) task_directory(f->pid, fd, (char *) t->texts + at, PATH_MAX);
                at += r->sizes[2 * which];
        }
        memcpy(t->texts + at, text, n);
        r->sizes[2 * which + 1] = (uint32_t) n;
        if (cut)
                r->flags |= REFUSAL_CUT;
        return at + (uint32_t) n;
}

static uint32_t add_bytes(struct sbx_trace *t, const struct flight *f, struct sbx_refusal *r, uint32_t at) {
        const struct sbx_watch *watch = &t->watches[f->call];
        uint64_t size = TASK_BYTES;
        if (watch->bytes < 0)
                return at;
        if (watch->bytes_size >= 0 && f->arguments[watch->bytes_size] < size)
                size = f->arguments[watch->bytes_size];
        r->sizes[4] = (uint32_t) task_read(f->pid, f->arguments[watch->bytes], t->texts + at, size);
        return at + r->sizes[4];
}

static const char *base_name(const char *text, size_t n, size_t *ret_len) {
        size_t from = n;
        while (from > 0 && text[from - 1] != '/')
                from--;
        *ret_len = n - from;
        return text + from;
}

/* The name that a search is for: that of the first path. */
static void remember(struct sbx_trace *t, const struct sbx_refusal *r, uint32_t index) {
        struct recent *recent = &t->recent[(uint32_t) r->pid % RECENT_TASKS];
        size_t len;
        const char *name = base_name((const char *) r->texts + r->sizes[0], r->sizes[1], &len);
        if (len == 0 || len > NAME_MAX)
                return;
        if (recent->pid != r->pid || strncmp(recent->name, name, len) != 0 || recent->name[len] != 0)
                recent->count = 0;
        recent->pid = r->pid;
        memcpy(recent->name, name, len);
        recent->name[len] = 0;
        uint32_t at = recent->count < RECENT_NAMES ? recent->count++ : RECENT_NAMES - 1;
        recent->entries[at].index = index;
        recent->entries[at].first = r->first;
}

/* A search along a path ends well: what failed on the way did no harm. */
static void make_good(struct sbx_trace *t, pid_t pid, const char *name, size_t len) {
        struct recent *recent = &t->recent[(uint32_t) pid % RECENT_TASKS];
        if (recent->pid != pid || recent->count == 0)
                return;
        if (strncmp(recent->name, name, len) == 0 && recent->name[len] == 0)
                for (uint32_t i = 0; i < recent->count; i++) {
                        uint32_t index = recent->entries[i].index;
                        if (index < t->table.count && t->table.entries[index].first == recent->entries[i].first)
                                t->table.entries[index].made_good++;
                }
        recent->count = 0;
}

static struct sbx_refusal *count(struct sbx_trace *t, struct sbx_refusal *seen) {
        static const uint64_t none[6];
        int known = seen->call >= 0 && (uint32_t) seen->call < SBX_TRACE_CALLS, is_new;
        if (!t->started)
                seen->flags |= REFUSAL_LAUNCH;
        struct sbx_refusal *r = table_count(&t->table, seen, known ? t->watches[seen->call].masks : none, &is_new);
        if (r != NULL && is_new)
                task_program(seen->pid, r->program);
        return r;
}

static void note_refusal(struct sbx_trace *t, const struct flight *f, int error, uint32_t flags) {
        int known = f->call >= 0 && (uint32_t) f->call < SBX_TRACE_CALLS;
        struct sbx_refusal seen = { .call = f->call, .error = error, .flags = flags, .pid = f->pid, .texts = t->texts };
        uint32_t at = 0;
        memcpy(seen.arguments, f->arguments, sizeof seen.arguments);
        if (known) {
                at = add_path(t, f, 0, &seen, at);
                at = add_path(t, f, 1, &seen, at);
                add_bytes(t, f, &seen, at);
        }
        struct sbx_refusal *r = count(t, &seen);
        if (r != NULL && known && t->watches[f->call].path[0] >= 0 && !(flags & REFUSAL_BY_FILTER))
                remember(t, r, (uint32_t) (r - t->table.entries));
}

static void note_success(struct sbx_trace *t, const struct flight *f) {
        const struct recent *recent = &t->recent[(uint32_t) f->pid % RECENT_TASKS];
        int path = t->watches[f->call].path[0], cut = 0;
        char text[PATH_MAX];
        size_t len;
        if (path < 0 || recent->pid != f->pid || recent->count == 0)
                return;
        size_t n = task_read_string(f->pid, f->arguments[path], text, sizeof text, &cut);
        const char *name = base_name(text, n, &len);
        make_good(t, f->pid, name, len);
}

/* no_new_privs and nosuid are the sandbox's, and execve says nothing of them. */
static void note_set_id(struct sbx_trace *t, pid_t pid) {
        struct stat st;
        cleanup_fd int fd = task_open(pid, "exe", O_PATH);
        if (fd < 0 || fstat(fd, &st) < 0 || !((st.st_mode & S_ISUID) || (st.st_mode & (S_ISGID | S_IXGRP)) == (S_ISGID | S_IXGRP)))
                return;
        struct sbx_refusal seen = { .call = SYS_execve, .flags = REFUSAL_SET_ID, .pid = pid, .texts = t->texts };
        seen.sizes[1] = (uint32_t) task_read_link(pid, "exe", (char *) t->texts, PATH_MAX);
        count(t, &seen);
}

static int counts_as_refusal(const struct sbx_watch *watch, int64_t error) {
        return error >= 0 && error < 128 && (watch->errors[error / 64] >> (error % 64) & 1);
}

/* ---- Stops ---- */

/* What a task that has gone since is told is lost, and no loss. */
static void resume(const struct sbx_trace *t, pid_t pid, int sig) {
        ptrace(flight_of(t, pid) != NULL ? PTRACE_SYSCALL : PTRACE_CONT, pid, 0, (long) sig);
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

static void on_filter(struct sbx_trace *t, pid_t pid) {
        struct ptrace_syscall_info info;
        struct flight f = { .pid = pid };
        flight_end(t, pid);
        if (ptrace(PTRACE_GET_SYSCALL_INFO, pid, sizeof info, &info) < 0) {
                if (errno != ESRCH)
                        kill(pid, SIGKILL);
                return;
        }
        f.call = (int32_t) info.seccomp.nr;
        for (int i = 0; i < 6; i++)
                f.arguments[i] = info.seccomp.args[i];
        if (info.seccomp.ret_data != SBX_TRACE_WATCHED) {
                note_refusal(t, &f, (int) info.seccomp.ret_data, REFUSAL_BY_FILTER);
                refuse(pid, (int) info.seccomp.ret_data);
        } else if (keep_child_traced(&f) < 0)
                refuse(pid, ENOSYS);
        else if (f.call >= 0 && (uint32_t) f.call < SBX_TRACE_CALLS)
                flight_begin(t, pid, f.call, f.arguments); /* without memory for it its end isn't looked at */
        resume(t, pid, 0);
}

static void on_call_ended(struct sbx_trace *t, pid_t pid) {
        struct ptrace_syscall_info info;
        struct flight *found = flight_of(t, pid), f;
        if (found != NULL && ptrace(PTRACE_GET_SYSCALL_INFO, pid, sizeof info, &info) >= 0 && info.op == PTRACE_SYSCALL_INFO_EXIT) {
                f = *found;
                if (counts_as_refusal(&t->watches[f.call], -info.exit.rval))
                        note_refusal(t, &f, (int) -info.exit.rval, 0);
                else if (info.exit.rval >= 0)
                        note_success(t, &f);
        }
        flight_end(t, pid);
        ptrace(PTRACE_CONT, pid, 0, 0L);
}

/* The thread that called execve goes on under its process's id; all others are gone. */
static void on_exec(struct sbx_trace *t, pid_t pid) {
        unsigned long former = 0;
        char program[16];
        t->started = 1;
        if (t->root_fd < 0)
                t->root_fd = task_open(pid, "root", O_PATH | O_DIRECTORY);
        if (t->mount_ns_fd < 0)
                t->mount_ns_fd = task_open(pid, "ns/mnt", O_RDONLY);
        if (ptrace(PTRACE_GETEVENTMSG, pid, 0, &former) >= 0 && (pid_t) former != pid)
                flight_end(t, (pid_t) former);
        flight_end(t, pid);
        size_t len = task_program(pid, program);
        if (len < 15)
                make_good(t, pid, program, len);
        note_set_id(t, pid);
        resume(t, pid, 0);
}

static void on_exit_event(struct sbx_trace *t, pid_t pid) {
        unsigned long status = 0;
        flight_end(t, pid);
        if (ptrace(PTRACE_GETEVENTMSG, pid, 0, &status) >= 0 && WIFSIGNALED((int) status) && WTERMSIG((int) status) == SIGSYS) {
                struct flight f = { .pid = pid };
                f.call = task_killed_call(pid, f.arguments);
                if (f.call >= 0)
                        note_refusal(t, &f, 0, REFUSAL_BY_FILTER | REFUSAL_KILLED);
        }
        ptrace(PTRACE_CONT, pid, 0, 0L);
}

static void on_signal(struct sbx_trace *t, pid_t pid, int sig) {
        struct flight f = { .pid = pid, .call = -1 };
        if (sig == SIGXFSZ || sig == SIGXCPU)
                note_refusal(t, &f, sig, REFUSAL_SIGNAL);
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
        if (table_is_full(&t->table))
                table_halve(&t->table);
        for (;;) {
                pid_t pid = waitpid(-1, &status, __WALL | __WNOTHREAD);
                if (pid < 0 && errno == EINTR)
                        continue;
                if (pid < 0)
                        return -errno;
                if (WIFSTOPPED(status)) {
                        on_stop(t, pid, status);
                        if (table_is_full(&t->table))
                                return TRACE_FULL;
                        continue;
                }
                flight_end(t, pid);
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
