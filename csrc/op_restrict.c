/* Ops that hand the payload over to Landlock and seccomp. */
#include "context.h"
#include "sys.h"

#include <linux/filter.h>
#include <linux/seccomp.h>

/* Rights that mean something only beneath a directory; the kernel refuses them for a file. */
#define DIRECTORY_RIGHTS 0x3ff8ull /* READ_DIR to REFER */

int perform_create_landlock_ruleset(struct context *c, const void *payload) {
        const struct op_landlock_ruleset *op = payload;
        struct landlock_ruleset attributes = { .fs = op->fs, .net = op->net, .scoped = op->scoped };
        /* An older kernel takes a longer structure as long as the rest is zero. */
        int fd = CALL(SYS_landlock_create_ruleset, &attributes, sizeof attributes, 0);
        if (fd < 0)
                return fd;
        c->ruleset_fd = fd;
        return 0;
}

int perform_allow_path(struct context *c, const void *payload) {
        const struct op_allow_path *op = payload;
        struct stat st;
        cleanup_fd int fd = sys_openat2(AT_FDCWD, string_of(c, op->path), O_PATH, RESOLVE_NO_MAGICLINKS);
        if ((fd == -ENOENT || fd == -ENOTDIR) && (op->flags & ALLOW_OPTIONAL))
                return 0;
        if (fd < 0)
                return fd;
        if (fstat(fd, &st) < 0)
                return -errno;
        struct landlock_path rule = { .access = op->access, .parent_fd = fd };
        if (!S_ISDIR(st.st_mode))
                rule.access &= ~DIRECTORY_RIGHTS;
        return rule.access == 0 ? 0 : CALL(SYS_landlock_add_rule, c->ruleset_fd, LANDLOCK_TYPE_PATH, &rule, 0);
}

int perform_allow_port(struct context *c, const void *payload) {
        const struct op_allow_port *op = payload;
        struct landlock_port rule = { .access = op->access, .port = op->port };
        return CALL(SYS_landlock_add_rule, c->ruleset_fd, LANDLOCK_TYPE_PORT, &rule, 0);
}

int perform_restrict_self(struct context *c, const void *payload) {
        return CALL(SYS_landlock_restrict_self, c->ruleset_fd, (unsigned) ((const struct op_number *) payload)->value);
}

int perform_install_filter(struct context *c, const void *payload) {
        const struct op_install_filter *op = payload;
        if (op->program.len % sizeof(struct sock_filter) != 0 || op->program.len / sizeof(struct sock_filter) > BPF_MAXINSNS)
                return -EINVAL; /* the length below has 16 bits: what is cut off would be missing */
        struct sock_fprog program = {
                .len = (unsigned short) (op->program.len / sizeof(struct sock_filter)),
                .filter = (struct sock_filter *) (uintptr_t) (c->plan->data + op->program.offset),
        };
        return CALL(SYS_seccomp, SECCOMP_SET_MODE_FILTER, (unsigned) op->flags, &program);
}
