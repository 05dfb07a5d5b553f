/* Ops on ids, capabilities and what keeps them from growing. Raw calls: a libc's wrappers speak to all its threads. */
#include "context.h"
#include "sys.h"

#include <linux/capability.h>
#include <linux/keyctl.h>
#include <linux/securebits.h>
#include <poll.h>
#include <sys/prctl.h>

#define NAMESPACES                                                                                                     \
        ((uint64_t) (CLONE_NEWUSER | CLONE_NEWNS | CLONE_NEWPID | CLONE_NEWNET | CLONE_NEWIPC | CLONE_NEWUTS |         \
                     CLONE_NEWCGROUP | CLONE_NEWTIME))

/* Any other flag would share what the child must not share; without a mount namespace the ops on mounts would change
 * the host's. */
int prepare_create_namespaces(struct context *c, const void *payload) {
        uint64_t flags = ((const struct op_number *) payload)->value;
        if ((flags & ~NAMESPACES) != 0 || !(flags & CLONE_NEWNS))
                return -EINVAL;
        c->clone_flags = flags;
        return 0;
}

int prepare_map_ids(struct context *c, const void *payload) {
        c->maps = payload;
        return 0;
}

int perform_set_ids(struct context *c, const void *payload) {
        const struct op_set_ids *op = payload;
        (void) c;
        int r = CALL(SYS_setresgid, (gid_t) op->gid, (gid_t) op->gid, (gid_t) op->gid);
        return r < 0 ? r : CALL(SYS_setresuid, (uid_t) op->uid, (uid_t) op->uid, (uid_t) op->uid);
}

int perform_set_groups(struct context *c, const void *payload) {
        (void) c;
        (void) payload;
        return CALL(SYS_setgroups, 0, NULL);
}

/* The parent may be gone before the signal is asked for: its end of the status pipe then is closed. */
int perform_set_death_signal(struct context *c, const void *payload) {
        struct pollfd status = { .fd = c->status_fd };
        if (prctl(PR_SET_PDEATHSIG, ((const struct op_number *) payload)->value, 0, 0, 0) < 0)
                return -errno;
        if (poll(&status, 1, 0) > 0 && (status.revents & (POLLERR | POLLHUP)))
                _exit(125);
        return 0;
}

int perform_limit_capabilities(struct context *c, const void *payload) {
        uint64_t bounding = ((const struct op_number *) payload)->value;
        (void) c;
        for (unsigned cap = 0; cap < 64; cap++)
                if (!(bounding >> cap & 1) && prctl(PR_CAPBSET_DROP, cap, 0, 0, 0) < 0) {
                        if (errno == EINVAL)
                                break; /* past the kernel's last one */
                        return -errno;
                }
        return 0;
}

int perform_set_capabilities(struct context *c, const void *payload) {
        const struct op_set_capabilities *op = payload;
        struct __user_cap_header_struct head = { .version = _LINUX_CAPABILITY_VERSION_3 };
        struct __user_cap_data_struct data[2];
        (void) c;
        for (int i = 0; i < 2; i++)
                data[i] = (struct __user_cap_data_struct) {
                        .effective = (uint32_t) (op->permitted >> (32 * i)),
                        .permitted = (uint32_t) (op->permitted >> (32 * i)),
                        .inheritable = (uint32_t) (op->inheritable >> (32 * i)),
                };
        int r = CALL(SYS_capset, &head, data);
        if (r < 0)
                return r;
        if (op->ambient == 0) /* it is emptied in any case */
                return prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0) < 0 ? -errno : 0;
        for (unsigned cap = 0; cap < 64; cap++)
                if ((op->ambient >> cap & 1) && prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, cap, 0, 0) < 0)
                        return -errno;
        return 0;
}

int perform_set_securebits(struct context *c, const void *payload) {
        (void) c;
        return prctl(PR_SET_SECUREBITS, ((const struct op_number *) payload)->value, 0, 0, 0) < 0 ? -errno : 0;
}

int perform_set_no_new_privileges(struct context *c, const void *payload) {
        (void) c;
        (void) payload;
        return prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0 ? -errno : 0;
}

/* The caller's session keyring is inherited, and no namespace hides what is in it. */
int perform_new_keyring(struct context *c, const void *payload) {
        (void) c;
        (void) payload;
        int r = CALL(SYS_keyctl, KEYCTL_JOIN_SESSION_KEYRING, NULL);
        return r == -ENOSYS ? 0 : r < 0 ? r : 0; /* a kernel without keyrings */
}

/* The init runs the host's launcher: through /proc/1/exe it would be reachable (CVE-2019-5736). */
int perform_protect_process(struct context *c, const void *payload) {
        (void) c;
        (void) payload;
        return prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) < 0 ? -errno : 0;
}
