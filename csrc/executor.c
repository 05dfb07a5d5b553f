/* From a plan to a running sandbox: one table of ops, one clone3. */
#include "context.h"
#include "sys.h"

#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>

static const struct {
        op_function *prepare; /* in the supervisor */
        op_function *open;    /* sources of mounts */
        op_function *perform; /* in the sandbox */
} operations[PLAN_KIND_COUNT] = {
        [PLAN_CreateNamespaces] = { .prepare = prepare_create_namespaces },
        [PLAN_MapIds] = { .prepare = prepare_map_ids, .perform = perform_map_ids },
        [PLAN_SetIds] = { .perform = perform_set_ids },
        [PLAN_SetGroups] = { .perform = perform_set_groups },
        [PLAN_SetDeathSignal] = { .perform = perform_set_death_signal },
        [PLAN_MountRoot] = { .perform = perform_mount_root },
        [PLAN_MountRootTree] = { .open = open_root_tree, .perform = perform_mount_root_tree },
        [PLAN_RestrictRoot] = { .perform = perform_restrict_root },
        [PLAN_MakeDirectory] = { .perform = perform_make_directory },
        [PLAN_MakeSymlink] = { .perform = perform_make_symlink },
        [PLAN_WriteFile] = { .perform = perform_write_file },
        [PLAN_BindMount] = { .open = open_bind_mount, .perform = perform_bind_mount },
        [PLAN_BindDevice] = { .open = open_bind_device, .perform = perform_bind_device },
        [PLAN_MountDev] = { .open = open_mount_dev, .perform = perform_mount_dev },
        [PLAN_MakeDevice] = { .open = open_make_device },
        [PLAN_MountTmpfs] = { .perform = perform_mount_tmpfs },
        [PLAN_MountOverlay] = { .prepare = prepare_overlay, .open = open_overlay, .perform = perform_mount_overlay },
        [PLAN_CreateProc] = { .perform = perform_create_proc },
        [PLAN_SetSysctl] = { .perform = perform_set_sysctl },
        [PLAN_AttachProc] = { .perform = perform_attach_proc },
        [PLAN_MountDevpts] = { .perform = perform_mount_devpts },
        [PLAN_MaskPath] = { .perform = perform_mask_path },
        [PLAN_SetMountAttributes] = { .perform = perform_set_mount_attributes },
        [PLAN_EnterRoot] = { .perform = perform_enter_root },
        [PLAN_SetHostname] = { .perform = perform_set_hostname },
        [PLAN_BringUpLoopback] = { .perform = perform_bring_up_loopback },
        [PLAN_SetRlimit] = { .perform = perform_set_rlimit },
        [PLAN_SetUmask] = { .perform = perform_set_umask },
        [PLAN_ChangeDirectory] = { .perform = perform_change_directory },
        [PLAN_SetEnvironment] = { .prepare = prepare_environment },
        [PLAN_NullStdin] = { .perform = perform_null_stdin },
        [PLAN_OpenTerminal] = { .perform = perform_open_terminal },
        [PLAN_NewSession] = { .perform = perform_new_session },
        [PLAN_LimitCapabilities] = { .perform = perform_limit_capabilities },
        [PLAN_SetCapabilities] = { .perform = perform_set_capabilities },
        [PLAN_SetSecurebits] = { .perform = perform_set_securebits },
        [PLAN_SetNoNewPrivileges] = { .perform = perform_set_no_new_privileges },
        [PLAN_NewKeyring] = { .perform = perform_new_keyring },
        [PLAN_ProtectProcess] = { .perform = perform_protect_process },
        [PLAN_CreateLandlockRuleset] = { .perform = perform_create_landlock_ruleset },
        [PLAN_AllowPath] = { .perform = perform_allow_path },
        [PLAN_AllowPort] = { .perform = perform_allow_port },
        [PLAN_StartInit] = { .prepare = prepare_start_init, .perform = perform_start_init },
        [PLAN_RestrictSelf] = { .perform = perform_restrict_self },
        [PLAN_CheckDescriptors] = { .perform = perform_check_descriptors },
        [PLAN_SealDescriptors] = { .perform = perform_seal_descriptors },
        [PLAN_KeepDescriptor] = { .prepare = prepare_keep_descriptor, .perform = perform_keep_descriptor },
        [PLAN_InstallFilter] = { .perform = perform_install_filter },
        [PLAN_Execute] = { .prepare = prepare_execute, .perform = perform_execute },
};

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

/* A launch is a chain of hand-overs: supervisor, first process, payload.  On one processor each is a switch between
 * tasks; to another one it is an interrupt, a wake-up and a cold cache, and a queue where there is load.  The payload
 * goes back to the caller's affinity before it begins, those who wait for it a little later. */
static void stay_on_this_cpu(struct context *c) {
        uint64_t one[16] = { 0 };
        unsigned cpu = 0;
        int size = CALL(SYS_sched_getaffinity, 0, sizeof c->cpus.mask, c->cpus.mask);
        if (size <= 0 || CALL(SYS_getcpu, &cpu, NULL, NULL) < 0 || cpu >= 64 * 16)
                return;
        one[cpu / 64] = 1ull << (cpu % 64);
        if (CALL(SYS_sched_setaffinity, 0, size, one) >= 0)
                c->cpus.size = size;
}

void restore_cpus(struct sbx_cpus *cpus) {
        if (cpus->size > 0)
                syscall(SYS_sched_setaffinity, 0, cpus->size, cpus->mask);
        cpus->size = 0;
}

/* A short program ends where it began: who waits for one stays on its processor for so long. */
#define SHORT_NS 50000000

long wait_for_signal(const uint64_t *set, struct sbx_cpus *cpus) {
        struct timespec brief = { .tv_nsec = SHORT_NS };
        long sig = syscall(SYS_rt_sigtimedwait, set, NULL, cpus->size > 0 ? &brief : NULL, sizeof *set);
        if (sig < 0 && errno == EAGAIN)
                restore_cpus(cpus);
        return sig;
}

void report_and_exit(struct context *c, int error) {
        c->at.error = -error;
        struct report report = { .kind = REPORT_FAILED, .failure = c->at };
        /* Nobody is left to tell where this can't be written. */
        ssize_t n = send(c->status_fd, &report, sizeof report, MSG_NOSIGNAL);
        if (n < 0)
                n = write(c->status_fd, &report, sizeof report);
        (void) n;
        _exit(125);
}

/* Carries out ops from the one given; comes back only when there is none left that executes a program. */
int run_ops(struct context *c, const struct plan_record *from, uint32_t index) {
        const struct plan_record *r = from;
        for (; index < c->plan->header->op_count; index++, r = plan_next(r)) {
                op_function *perform = operations[r->kind].perform;
                if (perform == NULL)
                        continue;
                c->record = r;
                c->at.op = index;
                c->at.detail = DETAIL_NONE;
                int error = perform(c, plan_payload(r));
                if (error < 0)
                        return error;
                mark(c, c->at.stage, index);
        }
        return -ENOEXEC;
}

static int for_each_op(struct context *c, int opening) {
        const struct plan_record *r = plan_first_op(c->plan);
        for (uint32_t i = 0; i < c->plan->header->op_count; i++, r = plan_next(r)) {
                op_function *f = opening ? operations[r->kind].open : operations[r->kind].prepare;
                if (f == NULL)
                        continue;
                c->record = r;
                c->at.op = i;
                int error = f(c, plan_payload(r));
                if (error < 0)
                        return error;
                if (opening)
                        mark(c, STAGE_PREPARE, i);
        }
        return 0;
}

static int opens_outside(const struct context *c) {
        return (c->plan->header->flags & PLAN_FLAG_SOURCES_OUTSIDE) != 0;
}

/* ---- The sandbox's first process.  From here to exec: async-signal-safe calls only, no malloc, no stdio. ---- */

static void reset_signals(void) {
        struct {
                void *handler;
                unsigned long flags;
                void *restorer;
                uint64_t mask;
        } standard = { 0 };
        for (int sig = 1; sig <= 64; sig++)
                syscall(SYS_rt_sigaction, sig, &standard, NULL, sizeof standard.mask);
}

static void unblock_signals(void) {
        uint64_t none = 0;
        syscall(SYS_rt_sigprocmask, SIG_SETMASK, &none, NULL, sizeof none);
}

static void await_go(const struct context *c) {
        char byte;
        ssize_t n;
        do
                n = read(c->go_reader, &byte, 1);
        while (n < 0 && errno == EINTR);
        if (n != 1) /* the supervisor is gone, or has failed and says so itself */
                _exit(125);
}

/* Ops before this one in the plan run while the supervisor writes the maps. */
int perform_map_ids(struct context *c, const void *payload) {
        const struct op_map_ids *op = payload;
        if (op->by == MAP_BY_SELF)
                return write_own_maps(c);
        await_go(c);
        close_fd(&c->go_reader);
        return 0;
}

/* Without a user namespace of its own a new mount namespace still shares its mounts with the host's. */
static int stop_propagation(const struct context *c) {
        struct mount_attributes private = { .propagation = PROPAGATION_PRIVATE };
        if (c->clone_flags & CLONE_NEWUSER)
                return 0;
        cleanup_fd int root = open("/", O_PATH | O_DIRECTORY | O_CLOEXEC);
        return root < 0 ? -errno : sys_mount_setattr(root, 1, &private);
}

static void first_process(struct context *c) __attribute__((noreturn));
static void first_process(struct context *c) {
        close_fd(&c->status_reader);
        close_fd(&c->go_writer);
        for (uint32_t i = 0; i < c->launch->private_count; i++)
                if (c->launch->private_fds[i] >= 0)
                        close(c->launch->private_fds[i]);
        if (c->launch->attach != NULL)
                await_go(c);
        reset_signals();
        c->callers_umask = umask(0); /* the root's directories have their own modes, whatever the caller's mask is */
        c->at = (struct sbx_failure) { .stage = STAGE_SANDBOX };
        int error = stop_propagation(c);
        if (error >= 0 && !opens_outside(c))
                error = for_each_op(c, 1);
        if (error >= 0 && !c->has_init) {
                unblock_signals();
                restore_cpus(&c->cpus);
        }
        if (error >= 0)
                error = run_ops(c, plan_first_op(c->plan), 0);
        report_and_exit(c, error);
}

int prepare_start_init(struct context *c, const void *payload) {
        (void) payload;
        c->has_init = 1;
        c->payload_stack = take_memory(c, 1, PAYLOAD_STACK_SIZE);
        return c->payload_stack == NULL ? -ENOMEM : 0;
}

static int payload_process(void *argument) {
        struct context *c = argument;
        struct sbx_cpus cpus = c->cpus; /* the init shares this memory and waits yet */
        c->at.stage = STAGE_PAYLOAD;
        unblock_signals();
        restore_cpus(&cpus);
        int error = run_ops(c, plan_next(c->record), c->at.op + 1);
        report_and_exit(c, error);
}

int perform_start_init(struct context *c, const void *payload) {
        (void) payload;
        if (c->launch->served)
                await_call(c);
        int status_fd = c->status_fd; /* the payload may move its own copy */
        /* As vfork: the first process sleeps until the program runs, so sharing its memory is sound. */
        int pid = clone(payload_process, c->payload_stack + PAYLOAD_STACK_SIZE, CLONE_VM | CLONE_VFORK | SIGCHLD, c);
        c->status_fd = status_fd;
        if (pid < 0)
                return -errno;
        if (c->at.error != 0 || c->record->kind != PLAN_Execute) /* it has said why, or was killed on its way */
                _exit(125);
        run_init(c, pid);
}

/* ---- The supervisor ---- */

static void release(struct context *c) {
        if (c->tree_fds != NULL)
                for (uint32_t i = 0; i < c->plan->header->op_count; i++)
                        close_fd(&c->tree_fds[i]);
        for (uint32_t i = 0; i < c->layers_opened; i++)
                close_fd(&c->layer_fds[i]);
        close_fd(&c->rootfs_fd);
        close_fd(&c->source.fd);
        close_fd(&c->status_fd);
        close_fd(&c->status_reader);
        close_fd(&c->go_reader);
        close_fd(&c->go_writer);
}

static int make_channels(struct context *c) {
        int ends[2];
        if (c->launch->served) {
                c->status_fd = fcntl(c->launch->channel, F_DUPFD_CLOEXEC, 3);
                if (c->status_fd < 0)
                        return -errno;
        } else if ((c->launch->terminal ? socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) : pipe2(ends, O_CLOEXEC)) < 0)
                return -errno;
        else {
                c->status_reader = ends[0];
                c->status_fd = ends[1];
        }
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

/* Enough for every op to take what it may: lists of the plan and of the caller, a few words for each op, a stack. */
static int reserve_memory(struct context *c) {
        size_t words = count_strings(c->launch->argv) + count_strings(c->launch->environment) + c->plan->header->data_size / sizeof(struct plan_ref) +
                       5 * (size_t) c->plan->header->op_count + 64;
        c->memory_size = words * sizeof(uint64_t) + PAYLOAD_STACK_SIZE;
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

static int prepare(struct context *c) {
        uint32_t count = c->plan->header->op_count;
        c->at.stage = STAGE_PREPARE;
        int error = reserve_memory(c);
        if (error < 0)
                return error;
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
        return error < 0 ? error : make_channels(c);
}

static int tell_go(const struct context *c) {
        return write(c->go_writer, "", 1) == 1 ? 0 : -errno;
}

static uint32_t index_of_kind(const struct plan *p, unsigned kind) {
        const struct plan_record *r = plan_first_op(p);
        for (uint32_t i = 0; i < p->header->op_count; i++, r = plan_next(r))
                if (r->kind == kind)
                        return i;
        return 0;
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

/* A traced process stops on its way out. */
static void kill_and_reap(pid_t pid) {
        int status = 0;
        do
                kill(pid, SIGKILL);
        while (waitpid(pid, &status, __WALL) < 0 ? errno == EINTR : WIFSTOPPED(status));
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

        mark(&c, 0, MOMENT_START);
        stay_on_this_cpu(&c);
        int error = prepare(&c);
        mark(&c, 0, MOMENT_PREPARED);
        if (error >= 0) {
                struct clone_arguments args = {
                        .flags = c.clone_flags,
                        .exit_signal = SIGCHLD,
                };
                c.at = (struct sbx_failure) { .stage = STAGE_CLONE, .op = index_of_kind(c.plan, PLAN_CreateNamespaces) };
                pid = CALL(SYS_clone3, &args, sizeof args);
                if (pid == 0)
                        first_process(&c);
                mark(&c, 0, MOMENT_CLONED);
                error = pid;
        }
        if (error >= 0) {
                close_fd(&c.status_fd);
                close_fd(&c.go_reader);
                error = attach_tracer(&c, pid);
                if (error >= 0)
                        error = map_from_outside(&c, pid);
                if (error < 0)
                        kill_and_reap(pid);
        }
        if (error < 0) {
                c.at.error = -error;
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
        };
        release(&c);
        if (error < 0)
                sbx_release(&child);
        else
                *ret_child = child;
        return error < 0 ? error : 0;
}
