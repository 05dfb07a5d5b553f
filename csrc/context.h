/* What the executor's parts share while one plan is carried out. */
#pragma once
#include "executor.h"
#include "plan.h"

#include <limits.h>
#include <signal.h>
#include <sys/uio.h>

enum report_kind {
        REPORT_STARTED = 1,
        REPORT_FAILED = 2,
        REPORT_ENDED = 3,
        REPORT_READY = 4,    /* of a served launch: everything is built, and the call isn't there yet */
        REPORT_LAUNCHED = 5, /* by the server: the first process's id, and its pidfd */
        REPORT_REAPED = 6,   /* by the server, as struct serve_end */
        REPORT_CALLER = 7,   /* by the supervisor to the init: with a connection that asks for another program */
        REPORT_PAYLOAD = 8,  /* by a service's main process, for the sake of its credentials */
        REPORT_TAKEN = 9,    /* of a served launch: the call is there, and what it names may run from now on */
};

/* What the sandbox writes to its status descriptor; small enough to be atomic. */
struct report {
        uint32_t kind;
        int32_t status;
        struct sbx_failure failure;
};

struct context {
        const struct sbx_launch *launch;
        const struct plan *plan;

        int status_fd;     /* the sandbox's end */
        int status_reader; /* the supervisor's end */
        int go_reader, go_writer;
        int *tree_fds;     /* for each op the detached tree that was opened for it, or -1 */
        int *layer_fds;    /* the same for the layers of all overlays, in their order, each upper one last */
        uint32_t layer_count, layers_opened, layers_used;

        mode_t callers_umask;
        int root_fd, staging_fd, rootfs_fd, proc_fd, ruleset_fd;
        const char *proc_path; /* where the fresh procfs is attached, or NULL */
        int dev_fd;        /* the tmpfs of MountDev, in tree_fds as well */
        const char *dev_path;
        int scratch_fd;    /* a tmpfs of our own that is part of the root */
        uint64_t *devices; /* of the tmpfs mounts made here */
        uint32_t device_count;
        struct {
                const char *path; /* in the plan; len characters of it are meant */
                size_t len;
                int fd;
        } source;          /* the directory of the device node opened last: the next one lies beside it */
        struct {
                const char *path;
                size_t len;
                int fd, ours;
        } parent;          /* the same for the mount point made last */
        struct cover {
                int fd;
                uint32_t number;
        } covers[2][2];    /* empty or denied, file or directory */
        int stays_in_place;
        uint32_t staged;   /* entries made on the staging tmpfs */
        int terminal_slave;

        struct sbx_cgroups cgroups;
        const char *hierarchies[SBX_MAX_CGROUPS];
        int entrances[SBX_MAX_CGROUPS]; /* `tasks` of version 1, or -1 */
        uint32_t cgroup_op;
        int hides_cgroups;

        const struct op_map_ids *maps;
        uint64_t clone_flags;
        char **argv, **environment;
        const int32_t *kept; /* of a served launch: the numbers that the call filled */
        uint32_t kept_count;
        char program[PATH_MAX + NAME_MAX + 2];
        char name[32];
        uint8_t *payload_stack;
        uint8_t *memory; /* one block for all that the launch needs */
        size_t memory_size, memory_used;
        struct sbx_cpus cpus; /* the caller's */
        struct secrets *secrets; /* NULL: there are none, or they are where they belong */
        int *kept_fds;           /* of a survivor that is taken over (survive.h); NULL: this is a launch */
        struct service *service; /* NULL: the plan runs none, or nobody attends to it */

        const struct plan_record *record; /* the op at hand */
        struct sbx_failure at;            /* its stage, index and detail */
        int has_init;
};

#define PAYLOAD_STACK_SIZE (64u << 10)

typedef int op_function(struct context *c, const void *payload);

/* Memory that lasts as long as the launch, from one block; NULL when that is used up. */
void *take_memory(struct context *c, size_t count, size_t size);

/* In the supervisor, before the clone */
op_function prepare_create_namespaces, prepare_map_ids, prepare_overlay, prepare_environment, prepare_execute,
        prepare_start_init, prepare_keep_descriptor, prepare_create_cgroup, prepare_set_cgroup, prepare_run_service,
        prepare_open_notify, prepare_pass_sockets, prepare_keep_log, prepare_check_health, prepare_survive, prepare_provide_directory,
        prepare_mount_secrets, prepare_place_secret;

/* Sources of mounts, all before the first mount: in the supervisor where the plan says so, else in the sandbox */
op_function open_bind_mount, open_bind_device, open_mount_dev, open_make_device, open_root_tree, open_overlay, open_open_notify;

/* In the sandbox's first process, and behind StartInit in the payload: async-signal-safe calls only */
op_function perform_map_ids, perform_set_ids, perform_set_groups, perform_set_death_signal, perform_mount_root,
        perform_mount_root_tree, perform_restrict_root, perform_make_directory, perform_make_symlink, perform_write_file, perform_bind_mount,
        perform_bind_device, perform_mount_dev, perform_mount_tmpfs, perform_mount_overlay, perform_create_proc, perform_set_sysctl,
        perform_attach_proc, perform_mount_devpts, perform_mask_path, perform_set_mount_attributes, perform_enter_root,
        perform_set_hostname, perform_bring_up_loopback, perform_set_rlimit, perform_raise_rlimit, perform_set_umask,
        perform_change_directory, perform_null_stdin, perform_open_terminal, perform_new_session,
        perform_limit_capabilities, perform_set_capabilities, perform_set_securebits, perform_set_no_new_privileges, perform_new_keyring, perform_protect_process,
        perform_create_landlock_ruleset, perform_allow_path, perform_allow_port, perform_start_init,
        perform_restrict_self, perform_check_descriptors, perform_seal_descriptors, perform_keep_descriptor,
        perform_install_filter, perform_execute, perform_open_notify, perform_announce_payload,
        perform_keep_log, perform_mount_secrets, perform_place_secret;

/* operations.c */
int for_each_op(struct context *c, int opening);
int run_ops(struct context *c, const struct plan_record *from, uint32_t index);

/* executor.c */
void mark(const struct context *c, uint32_t stage, uint32_t op);
static inline int opens_outside(const struct context *c) {
        return (c->plan->header->flags & PLAN_FLAG_SOURCES_OUTSIDE) != 0;
}
static inline const char *string_of(const struct context *c, struct plan_ref ref) {
        return plan_string(c->plan, ref);
}

/* first.c */
void first_process(struct context *c) __attribute__((noreturn));
int unblock_signals(void);
void report_and_exit(struct context *c, int error) __attribute__((noreturn));

/* cpus.c */
void stay_on_this_cpu(struct sbx_cpus *cpus);
/* -errno: a payload must not begin then, as it would stay on the one processor. */
int restore_cpus(struct sbx_cpus *cpus);
/* A short program ends where it began: who waits for one stays on its processor for so long. */
#define SHORT_NS 50000000

/* A signal, or -1 with errno: EAGAIN after the time that a short program takes, where that is asked for. */
long wait_for_signal(const uint64_t *set, siginfo_t *ret_info, int brief);

/* supervise.c */
int child_report(struct sbx_child *child, struct report *ret_report);

/* service_launch.c: the variables that the payload gets of it; how many */
uint32_t service_variables(const struct context *c, char **environment);
#define SERVICE_VARIABLES 6u

/* secrets.c */
void secrets_wipe(struct context *c);
int secrets_hide(const struct context *c, const char *entry, size_t size);

/* channel.c: bytes, or -1 with errno, as sendmsg(2) and recvmsg(2) */
#define CHANNEL_MAX_FDS 16u
/* flags: of sendmsg. */
ssize_t send_with_fds(int socket, const struct iovec *parts, size_t part_count, const int *fds, uint32_t count, int flags);
/* Doesn't wait. */
ssize_t send_with_fd(int socket, const void *data, size_t size, int fd);
/* *ret_fd: what came along, or -1. flags: of recvmsg. */
ssize_t receive_with_fd(int socket, void *data, size_t size, int *ret_fd, int flags);
/* Has SIGIO come to this process whenever the descriptor has something: 0, or -errno. */
int announce_by_signal(int fd);

/* call.c */
void await_call(struct context *c);
int take_call(struct context *c);

/* op_process.c */
int enter_directory(const char *path);

/* init.c */
/* from: the op that the payload's process began with */
void run_init(struct context *c, pid_t payload, const struct plan_record *from, uint32_t index) __attribute__((noreturn));

/* root.c: the assembled root and its mount points */
int find_in_root(const struct context *c, const char *path, uint64_t flags);
int attach_at(struct context *c, int tree, const char *path, int directory, int create);
int mount_at(struct context *c, const char *type, uint64_t attributes, const char *options, const char *path);
int remember_ours(struct context *c, int fd);
char *number_text(char *end, uint64_t n, unsigned base);
int parent_of(struct context *c, const char *path, const char **ret_name);
int staging_open(struct context *c);
int scratch_open(struct context *c);
const char *staging_name(struct context *c, uint32_t n);
int new_tmpfs(struct context *c, uint64_t size, uint64_t inodes, uint64_t mode, uint64_t attributes, uint64_t uid, uint64_t gid);
int install_root(struct context *c, int mount);
int is_ours(const struct context *c, int fd);
void forget_below(struct context *c, const char *path);

int directory_of(const char *path, char directory[PATH_MAX]);

/* op_mount.c, op_cover.c */
int clone_tree(int fd, uint64_t attributes, uint64_t clear, int recursive, int userns);
int open_trusted(int top, const char *path, uint64_t trusted, uint64_t flags, uint64_t resolve);
int remove_covers(struct context *c);

/* idmap.c */
int idmap_user_namespace(uint64_t from_uid, uint64_t to_uid, uint64_t from_gid, uint64_t to_gid);
int write_maps(pid_t pid, const char *uid_map, const char *gid_map, int setgroups);
int write_own_maps(const struct context *c);
int write_maps_by_helper(pid_t pid, const struct context *c);
