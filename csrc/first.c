/* The sandbox's first process.  From here to exec: async-signal-safe calls only, no malloc, no stdio. */
#include "cgroup.h"
#include "service.h"
#include "survive.h"
#include "sys.h"

#include <string.h>
#include <sys/socket.h>

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

static int reset_signals(void) {
        struct {
                void *handler;
                unsigned long flags;
                void *restorer;
                uint64_t mask;
        } standard = { 0 };
        for (int sig = 1; sig <= 64; sig++) {
                int r = sig == SIGKILL || sig == SIGSTOP ? 0 : CALL(SYS_rt_sigaction, sig, &standard, NULL, sizeof standard.mask);
                if (r < 0)
                        return r;
        }
        return 0;
}

int unblock_signals(void) {
        uint64_t none = 0;
        return CALL(SYS_rt_sigprocmask, SIG_SETMASK, &none, NULL, sizeof none);
}

static void await_go(struct context *c) {
        char byte;
        ssize_t n;
        do
                n = read(c->go_reader, &byte, 1);
        while (n < 0 && errno == EINTR);
        if (n < 0)
                report_and_exit(c, -errno);
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

void first_process(struct context *c) {
        if (c->service != NULL && c->service->survive != NULL)
                survive_enter(c->service->survive);
        else
                close_fd(&c->status_reader);
        close_fd(&c->go_writer);
        for (uint32_t i = 0; i < c->launch->private_count; i++)
                if (c->launch->private_fds[i] >= 0)
                        close(c->launch->private_fds[i]);
        if (c->launch->attach != NULL)
                await_go(c);
        c->callers_umask = umask(0); /* the root's directories have their own modes, whatever the caller's mask is */
        c->at.stage = STAGE_SANDBOX; /* of the op that made the namespaces, until another one begins */
        int error = reset_signals();
        if (error >= 0 && c->cgroups.count > 0)
                error = cgroups_enter(c);
        if (error >= 0)
                error = stop_propagation(c);
        if (error >= 0 && !opens_outside(c))
                error = for_each_op(c, 1);
        if (error >= 0 && !c->has_init)
                error = unblock_signals();
        if (error >= 0 && !c->has_init)
                error = restore_cpus(&c->cpus);
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
        int error = unblock_signals();
        if (error >= 0)
                error = restore_cpus(&cpus);
        if (error >= 0)
                error = run_ops(c, plan_next(c->record), c->at.op + 1);
        report_and_exit(c, error);
}

/* Everybody may read /proc/1/cmdline, and this process's words are the launch's: the profile's place, values for it.
 * With a last byte that isn't 0 the kernel shows what begins there, and not how long the words had been. */
static void hide_words(const struct sbx_words *words) {
        static const char title[] = "sbx-init";
        if (words->at == NULL)
                return;
        memset(words->at, 0, words->size);
        if (words->size > sizeof title) {
                memcpy(words->at, title, sizeof title);
                words->at[words->size - 1] = 1;
        }
}

int perform_start_init(struct context *c, const void *payload) {
        (void) payload;
        hide_words(&c->launch->words);
        if (c->launch->served)
                await_call(c);
        const struct plan_record *from = c->record;
        uint32_t index = c->at.op;
        int status_fd = c->status_fd; /* the payload may move its own copy */
        /* As vfork: the first process sleeps until the program runs, so sharing its memory is sound. */
        int pid = clone(payload_process, c->payload_stack + PAYLOAD_STACK_SIZE, CLONE_VM | CLONE_VFORK | SIGCHLD, c);
        c->status_fd = status_fd;
        if (pid < 0)
                return -errno;
        if (c->at.error != 0 || c->record->kind != PLAN_Execute) /* it has said why, or was killed on its way */
                _exit(125);
        run_init(c, pid, from, index);
}
