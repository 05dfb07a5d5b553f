/* From a plan to a running sandbox: everything is prepared, then one clone3. */
#include "cgroup.h"
#include "record.h"
#include "sys.h"

#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <time.h>

void mark(const struct context *c, uint32_t stage, uint32_t op) {
        struct sbx_timing *t = c->launch->timing;
        struct timespec now;
        if (t == NULL)
                return;
        clock_gettime(CLOCK_MONOTONIC, &now);
        /* Supervisor and sandbox write side by side. */
        uint32_t at = __atomic_fetch_add(&t->count, 1, __ATOMIC_RELAXED);
        if (at < SBX_MAX_MARKS)
                t->marks[at] = (struct sbx_mark) { stage, op, now.tv_sec * 1000000000ll + now.tv_nsec };
}

static void release(struct context *c) {
        if (c->tree_fds != NULL)
                for (uint32_t i = 0; i < c->plan->header->op_count; i++)
                        close_fd(&c->tree_fds[i]);
        for (uint32_t i = 0; i < c->layers_opened; i++)
                close_fd(&c->layer_fds[i]);
        if (c->secrets != NULL)
                secrets_wipe(c);
        close_fd(&c->rootfs_fd);
        close_fd(&c->source.fd);
        close_fd(&c->status_fd);
        close_fd(&c->status_reader);
        close_fd(&c->go_reader);
        close_fd(&c->go_writer);
        cgroups_close_entrances(c);
}

static int make_channels(struct context *c) {
        int ends[2];
        if (c->launch->served) {
                c->status_fd = fcntl(c->launch->channel, F_DUPFD_CLOEXEC, 3);
                if (c->status_fd < 0)
                        return -errno;
        } else if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) < 0)
                return -errno;
        else {
                c->status_reader = ends[0];
                c->status_fd = ends[1];
        }
        int yes = 1;
        if (c->service != NULL && setsockopt(c->status_reader, SOL_SOCKET, SO_PASSCRED, &yes, sizeof yes) < 0)
                return -errno;
        if (c->launch->attach == NULL && (c->maps == NULL || c->maps->by == MAP_BY_SELF))
                return 0;
        if (pipe2(ends, O_CLOEXEC) < 0)
                return -errno;
        c->go_reader = ends[0];
        c->go_writer = ends[1];
        return 0;
}

static size_t count_strings(char *const *strings) {
        size_t n = 0;
        while (strings != NULL && strings[n] != NULL)
                n++;
        return n;
}

/* Of copies of them, each as take_memory() rounds it up. */
static size_t room_of_strings(char *const *strings) {
        size_t bytes = 0;
        for (; strings != NULL && *strings != NULL; strings++)
                bytes += strlen(*strings) + 16;
        return bytes;
}

/* Enough for every op to take what it may: lists of the plan and of the caller, the caller's words, a few numbers for
 * each op, a stack. */
static int reserve_memory(struct context *c) {
        size_t words = count_strings(c->launch->argv) + count_strings(c->launch->environment) + c->plan->header->data_size / sizeof(struct plan_ref) +
                       5 * (size_t) c->plan->header->op_count + 64;
        c->memory_size = words * sizeof(uint64_t) + room_of_strings(c->launch->argv) + PAYLOAD_STACK_SIZE;
        void *memory = mmap(NULL, c->memory_size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        if (memory == MAP_FAILED)
                return -errno;
        c->memory = memory;
        return 0;
}

void *take_memory(struct context *c, size_t count, size_t size) {
        size_t bytes = (count * size + 15) & ~(size_t) 15;
        if (count > PLAN_MAX_SIZE || bytes > c->memory_size - c->memory_used)
                return NULL;
        void *taken = c->memory + c->memory_used;
        c->memory_used += bytes;
        return taken;
}

/* Others have to find it from its first moment where it has a name. */
static int claim_name(struct context *c) {
        c->at.stage = STAGE_RECORD;
        if (c->launch->record == NULL || c->launch->name == NULL)
                return 0;
        return record_claim(c->launch);
}

static uint32_t index_of_kind(const struct plan *p, unsigned kind) {
        const struct plan_record *r = plan_first_op(p);
        for (uint32_t i = 0; i < p->header->op_count; i++, r = plan_next(r))
                if (r->kind == kind)
                        return i;
        return 0;
}

static int prepare(struct context *c) {
        uint32_t count = c->plan->header->op_count;
        const struct sbx_failure of_none = { .stage = STAGE_CLONE, .op = index_of_kind(c->plan, PLAN_CreateNamespaces) };
        c->at = of_none;
        int error = reserve_memory(c);
        if (error < 0)
                return error;
        c->at = (struct sbx_failure) { .stage = STAGE_PREPARE };
        c->tree_fds = take_memory(c, count + 1, sizeof *c->tree_fds);
        for (uint32_t i = 0; c->tree_fds != NULL && i < count; i++)
                c->tree_fds[i] = -1;
        c->devices = take_memory(c, 2 * count + 1, sizeof *c->devices); /* at most two an op, and the staging one */
        if (c->tree_fds == NULL || c->devices == NULL)
                return -ENOMEM;
        error = for_each_op(c, 0);
        c->layer_fds = take_memory(c, c->layer_count, sizeof *c->layer_fds);
        if (error >= 0 && c->layer_fds == NULL)
                error = -ENOMEM;
        if (error >= 0 && c->clone_flags == 0) { /* no CreateNamespaces: everything would happen to the host */
                c->at.op = 0;
                error = -EINVAL;
        }
        if (error >= 0 && opens_outside(c))
                error = for_each_op(c, 1);
        if (error < 0)
                return error;
        c->at = of_none;
        return make_channels(c);
}

/* Who was to read it may have ended: the signal of that waits until signals are let through again, and would end this
 * process without a word. */
static int tell_go(const struct context *c) {
        const uint64_t of_pipe = 1ull << (SIGPIPE - 1);
        if (write(c->go_writer, "", 1) == 1)
                return 0;
        int error = -errno;
        if (error == -EPIPE)
                syscall(SYS_rt_sigtimedwait, &of_pipe, NULL, &(struct timespec) { 0 }, sizeof of_pipe);
        return error;
}

static int map_from_outside(struct context *c, pid_t pid) {
        int error = 0;
        c->at.stage = STAGE_IDS;
        c->at.op = index_of_kind(c->plan, PLAN_MapIds);
        if (c->maps == NULL || c->maps->by == MAP_BY_SELF)
                return 0;
        if (c->maps->by == MAP_BY_HELPER)
                error = write_maps_by_helper(pid, c);
        else
                error = write_maps(pid, string_of(c, c->maps->uid_map), string_of(c, c->maps->gid_map), c->maps->setgroups != 0);
        if (error < 0)
                return error;
        return tell_go(c);
}

static int attach_tracer(struct context *c, pid_t pid) {
        if (c->launch->attach == NULL)
                return 0;
        c->at.stage = STAGE_TRACE;
        int error = c->launch->attach(pid);
        return error < 0 ? error : tell_go(c);
}

/* Whether it had ended by itself.  A traced process stops on its way out. */
static int kill_and_reap(pid_t pid) {
        int status = 0;
        if (waitpid(pid, &status, WNOHANG | __WALL) == pid && !WIFSTOPPED(status))
                return 1;
        do
                kill(pid, SIGKILL);
        while (waitpid(pid, &status, __WALL) < 0 ? errno == EINTR : WIFSTOPPED(status));
        return 0;
}

/* What failed here may have failed because the sandbox had: then that is what is to be told. */
static void take_its_word(struct context *c, int had_ended, int *error) {
        struct sbx_child child = { .status_fd = c->status_reader, .terminal_fd = -1 };
        struct report report;
        if (had_ended) {
                c->at = (struct sbx_failure) { .stage = STAGE_SANDBOX, .detail = DETAIL_ENDED };
                *error = -ECANCELED;
        }
        while (c->status_reader >= 0 && child_report(&child, &report) > 0)
                if (report.kind == REPORT_FAILED) {
                        c->at = report.failure;
                        *error = -report.failure.error;
                }
        close_fd(&child.terminal_fd);
}

static pid_t clone_first_process(struct context *c) {
        struct clone_arguments args = {
                .flags = c->clone_flags,
                .exit_signal = SIGCHLD,
        };
        int error = c->cgroups.count > 0 ? cgroups_open_entrances(c, &args.flags) : 0;
        if (error < 0)
                return error;
        if (c->cgroups.version == 2 && c->cgroups.count > 0) {
                args.flags |= CLONE_INTO_CGROUP;
                args.cgroup = (uint64_t) c->cgroups.at[0].directory;
        }
        c->at = (struct sbx_failure) { .stage = STAGE_CLONE, .op = index_of_kind(c->plan, PLAN_CreateNamespaces) };
        pid_t pid = CALL(SYS_clone3, &args, sizeof args);
        if (pid == 0)
                first_process(c);
        if (pid < 0 && cgroups_refused(c, pid))
                c->at = (struct sbx_failure) { .stage = STAGE_CLONE, .op = c->cgroup_op, .detail = DETAIL_CGROUP_ENTERED };
        mark(c, 0, MOMENT_CLONED);
        return pid;
}

int sbx_start(const struct sbx_launch *launch, struct sbx_child *ret_child, struct sbx_failure *ret_failure) {
        struct context c = {
                .launch = launch,
                .plan = launch->plan,
                .status_fd = -1,
                .status_reader = -1,
                .go_reader = -1,
                .go_writer = -1,
                .root_fd = -1,
                .staging_fd = -1,
                .rootfs_fd = -1,
                .proc_fd = -1,
                .ruleset_fd = -1,
                .dev_fd = -1,
                .scratch_fd = -1,
                .parent.fd = -1,
                .source.fd = -1,
                .covers = { { { .fd = -1 }, { .fd = -1 } }, { { .fd = -1 }, { .fd = -1 } } },
        };
        pid_t pid = -1;
        uint64_t begun = monotonic_ns();

        mark(&c, 0, MOMENT_START);
        stay_on_this_cpu(&c.cpus);
        int error = claim_name(&c);
        if (error >= 0)
                error = prepare(&c);
        mark(&c, 0, MOMENT_PREPARED);
        if (error >= 0) {
                pid = clone_first_process(&c);
                error = pid;
        }
        if (error >= 0) {
                close_fd(&c.status_fd);
                close_fd(&c.go_reader);
                error = attach_tracer(&c, pid);
                if (error >= 0)
                        error = map_from_outside(&c, pid);
                if (error < 0)
                        take_its_word(&c, kill_and_reap(pid), &error);
        }
        if (error < 0) {
                c.at.error = -error;
                cgroups_blame(&c.cgroups, &c.at);
                *ret_failure = c.at;
        } else
                mark(&c, 0, MOMENT_MAPPED);
        struct sbx_child child = {
                .pid = pid,
                .status_fd = error < 0 ? -1 : take_fd(&c.status_reader),
                .terminal_fd = -1,
                .has_init = (uint32_t) c.has_init,
                .memory = c.memory,
                .memory_size = c.memory_size,
                .cpus = c.cpus,
                .cgroups = c.cgroups,
                .usage.begun_ns = begun,
                .service = c.service,
        };
        release(&c);
        if (error < 0 && launch->record != NULL)
                record_remove(launch->record);
        if (error < 0)
                sbx_release(&child);
        else
                *ret_child = child;
        return error < 0 ? error : 0;
}
