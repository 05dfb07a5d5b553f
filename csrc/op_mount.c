/* Ops that build the mount tree.  A source is opened once, checked on its descriptor and mounted by it. */
#include "context.h"
#include "sys.h"

#include <limits.h>
#include <string.h>
#include <sys/sysmacros.h>

/* A detached clone of the tree at fd with its attributes set; private, and its submounts' own flags kept. */
int clone_tree(int fd, uint64_t attributes, uint64_t clear, int recursive, int userns) {
        struct mount_attributes a = { .set = attributes, .clear = clear, .propagation = PROPAGATION_PRIVATE };
        cleanup_fd int tree = sys_clone_tree(fd, recursive);
        if (tree < 0)
                return tree;
        if (userns >= 0) {
                a.set |= ATTR_IDMAP;
                a.userns_fd = (uint64_t) userns;
        }
        int r = sys_mount_setattr(tree, recursive, &a);
        return r < 0 ? r : take_fd(&tree);
}

/* Names below what the payload may write to are the payload's: none is followed that is a link, which an earlier run
 * could have left (CVE-2024-42472). */
int open_trusted(int top, const char *path, uint64_t trusted, uint64_t flags, uint64_t resolve) {
        char above[PATH_MAX];
        if (trusted == 0)
                return sys_openat2(top, path, flags, resolve);
        if (trusted >= sizeof above || trusted >= strlen(path))
                return -EINVAL;
        memcpy(above, path, trusted);
        above[trusted] = 0;
        cleanup_fd int fd = sys_openat2(top, above, O_PATH | O_DIRECTORY, resolve);
        return fd < 0 ? fd : sys_openat2(fd, path + trusted, flags, RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS);
}

static int open_source(const struct context *c, const struct op_bind_mount *op) {
        const char *path = string_of(c, op->source);
        uint64_t resolve = RESOLVE_NO_MAGICLINKS;
        int top = AT_FDCWD;
        if (op->flags & BIND_FROM_ROOT)
                return find_in_root(c, path, O_PATH);
        if (op->flags & BIND_FROM_ROOTFS) {
                top = c->rootfs_fd;
                resolve |= RESOLVE_IN_ROOT;
        }
        return open_trusted(top, path, op->trusted, O_PATH, resolve);
}

static int tree_of_bind(const struct context *c, const struct op_bind_mount *op) {
        cleanup_fd int userns = -1;
        struct stat st;
        cleanup_fd int fd = open_source(c, op);
        if (fd < 0)
                return fd;
        if (op->flags & BIND_IDMAP_OWNER) {
                if (fstat(fd, &st) < 0)
                        return -errno;
                /* Where both are the same already, file systems that can't be id-mapped serve as well. */
                if (st.st_uid != op->uid || st.st_gid != op->gid) {
                        userns = idmap_user_namespace(st.st_uid, op->uid, st.st_gid, op->gid);
                        if (userns < 0)
                                return userns;
                }
        }
        /* A part of the root may be granted more than the mount that it lies on. */
        uint64_t clear = op->flags & BIND_FROM_ROOT ? (ATTR_RDONLY | ATTR_NOEXEC) & ~op->attributes : 0;
        return clone_tree(fd, op->attributes, clear, (op->flags & BIND_RECURSIVE) != 0, userns);
}

/* Remembers what was opened outside; a missing optional source stays -1. */
static int keep_tree(struct context *c, int tree, uint64_t flags) {
        if (tree == -ENOENT && (flags & BIND_OPTIONAL))
                return 0;
        if (tree < 0)
                return tree;
        c->tree_fds[c->at.op] = tree;
        return 0;
}

int open_bind_mount(struct context *c, const void *payload) {
        const struct op_bind_mount *op = payload;
        return op->flags & BIND_FROM_ROOT ? 0 : keep_tree(c, tree_of_bind(c, op), op->flags);
}

int perform_bind_mount(struct context *c, const void *payload) {
        const struct op_bind_mount *op = payload;
        struct stat st;
        cleanup_fd int tree = c->tree_fds[c->at.op];
        if (op->flags & BIND_FROM_ROOT)
                tree = tree_of_bind(c, op);
        else if (tree < 0)
                return 0; /* optional and missing */
        if (tree == -ENOENT && (op->flags & BIND_OPTIONAL))
                return 0;
        if (tree < 0)
                return tree;
        if (fstat(tree, &st) < 0)
                return -errno;
        return attach_at(c, tree, string_of(c, op->target), S_ISDIR(st.st_mode), !(op->flags & BIND_NO_CREATE));
}

/* The directory of a device node, no link on the way; kept, as the next node lies beside it. */
static int source_directory(struct context *c, const char *path, const char **ret_name) {
        char directory[PATH_MAX];
        int n = directory_of(path, directory);
        if (n < 0)
                return n;
        *ret_name = path + n + 1;
        if (c->source.fd >= 0 && c->source.len == (size_t) n && memcmp(c->source.path, path, (size_t) n) == 0)
                return c->source.fd;
        close_fd(&c->source.fd);
        int fd = sys_openat2(AT_FDCWD, n > 0 ? directory : "/", O_PATH | O_DIRECTORY, RESOLVE_NO_SYMLINKS);
        if (fd >= 0) {
                c->source.path = path;
                c->source.len = (size_t) n;
                c->source.fd = fd;
        }
        return fd;
}

static int tree_of_device(struct context *c, const struct op_bind_device *op) {
        struct mount_attributes a = {
                /* Read-only: a device can be written to all the same, its mode and owner can't be changed. */
                .set = ATTR_RDONLY | ATTR_NOSUID | ATTR_NOEXEC,
                .propagation = PROPAGATION_PRIVATE,
        };
        struct stat st;
        const char *name;
        int directory = source_directory(c, string_of(c, op->source), &name);
        if (directory < 0)
                return directory;
        /* Cloned first: what is mounted is what was looked at. */
        cleanup_fd int tree = CALL(SYS_open_tree, directory, name,
                                   OPEN_TREE_CLONE_FLAG | OPEN_TREE_CLOEXEC_FLAG | (unsigned) AT_SYMLINK_NOFOLLOW);
        if (tree < 0)
                return tree;
        if (fstat(tree, &st) < 0)
                return -errno;
        int any = op->major == UINT32_MAX;
        if (!S_ISCHR(st.st_mode) || (!any && (major(st.st_rdev) != op->major || minor(st.st_rdev) != op->minor))) {
                c->at.detail = DETAIL_NOT_A_DEVICE;
                return -ENODEV;
        }
        int r = sys_mount_setattr(tree, 0, &a);
        return r < 0 ? r : take_fd(&tree);
}

int open_bind_device(struct context *c, const void *payload) {
        return keep_tree(c, tree_of_device(c, payload), 0);
}

int perform_bind_device(struct context *c, const void *payload) {
        const struct op_bind_device *op = payload;
        cleanup_fd int tree = c->tree_fds[c->at.op];
        return attach_at(c, tree, string_of(c, op->target), 0, 1);
}

/* A file system that belongs to the supervisor's user namespace can hold device nodes; one of the sandbox's own
 * can't, and takes a mount for each. */
int open_mount_dev(struct context *c, const void *payload) {
        const struct op_mount_dev *op = payload;
        c->dev_fd = new_tmpfs(c, op->size, 0, 0755, ATTR_NOSUID | ATTR_NOEXEC, op->uid, op->gid);
        c->dev_path = string_of(c, op->target);
        return keep_tree(c, c->dev_fd, 0);
}

int open_make_device(struct context *c, const void *payload) {
        const struct op_make_device *op = payload;
        const char *path = string_of(c, op->path);
        size_t n = c->dev_path ? strlen(c->dev_path) : 0;
        if (n == 0 || strncmp(path, c->dev_path, n) != 0 || path[n] != '/')
                return -EINVAL;
        path += n + 1;
        mode_t callers = umask(0);
        int r = mknodat(c->dev_fd, path, S_IFCHR | 0666, makedev(op->major, op->minor)) < 0 ? -errno : 0;
        umask(callers);
        return r;
}

int perform_mount_dev(struct context *c, const void *payload) {
        const struct op_mount_dev *op = payload;
        cleanup_fd int fd = c->tree_fds[c->at.op];
        int r = attach_at(c, fd, string_of(c, op->target), 1, 1);
        if (r >= 0 && c->scratch_fd < 0)
                c->scratch_fd = take_fd(&fd);
        return r;
}

int perform_mount_root(struct context *c, const void *payload) {
        const struct op_mount_root *op = payload;
        int fd = new_tmpfs(c, op->size, op->inodes, 0755, ATTR_NOSUID | ATTR_NODEV | ATTR_NOEXEC, 0, 0);
        c->scratch_fd = fd;
        return fd < 0 ? fd : install_root(c, fd);
}

/* The host's own tree stays the root: this mount namespace's copy of it, which nobody else sees. A clone of it to
 * change into would be the same mounts once more, and detaching the first ones waits for all processors. */
int perform_restrict_root(struct context *c, const void *payload) {
        struct mount_attributes a = { .set = ((const struct op_number *) payload)->value, .propagation = PROPAGATION_PRIVATE };
        int fd = open("/", O_PATH | O_DIRECTORY | O_CLOEXEC);
        if (fd < 0)
                return -errno;
        c->root_fd = fd;
        c->stays_in_place = 1;
        return sys_mount_setattr(fd, 1, &a);
}

static int tree_of_root(struct context *c, const struct op_path_number *op) {
        cleanup_fd int fd = sys_openat2(AT_FDCWD, string_of(c, op->path), O_PATH | O_DIRECTORY, RESOLVE_NO_MAGICLINKS);
        if (fd < 0)
                return fd;
        int tree = clone_tree(fd, op->value, 0, 1, -1);
        if (tree >= 0)
                c->rootfs_fd = take_fd(&fd);
        return tree;
}

int open_root_tree(struct context *c, const void *payload) {
        return keep_tree(c, tree_of_root(c, payload), 0);
}

int perform_mount_root_tree(struct context *c, const void *payload) {
        (void) payload;
        return install_root(c, c->tree_fds[c->at.op]);
}

#define TMPFS_OPTIONS 192 /* five names and numbers of at most 22 digits */

static void add_option(char options[TMPFS_OPTIONS], const char *name, uint64_t value, unsigned base) {
        char digits[32];
        strcat(options, name);
        strcat(options, number_text(digits + sizeof digits, value, base));
}

int perform_mount_tmpfs(struct context *c, const void *payload) {
        const struct op_mount_tmpfs *op = payload;
        const char *path = string_of(c, op->target);
        char options[TMPFS_OPTIONS] = "";
        add_option(options, "mode=", op->mode, 8);
        if (op->size > 0)
                add_option(options, ",size=", op->size, 10);
        if (op->inodes > 0)
                add_option(options, ",nr_inodes=", op->inodes, 10);
        if (op->uid > 0)
                add_option(options, ",uid=", op->uid, 10);
        if (op->gid > 0)
                add_option(options, ",gid=", op->gid, 10);
        int r = mount_at(c, "tmpfs", op->attributes, options, path);
        if (r < 0)
                return r;
        cleanup_fd int fd = find_in_root(c, path, O_PATH | O_DIRECTORY);
        r = fd < 0 ? fd : remember_ours(c, fd);
        if (r >= 0 && c->scratch_fd < 0)
                c->scratch_fd = take_fd(&fd);
        return r;
}

int perform_set_mount_attributes(struct context *c, const void *payload) {
        const struct op_path_number *op = payload;
        struct mount_attributes a = { .set = op->value };
        const char *path = string_of(c, op->path);
        if (strcmp(path, "/") == 0)
                return sys_mount_setattr(c->root_fd, 0, &a);
        cleanup_fd int fd = find_in_root(c, path, O_PATH);
        if (fd < 0)
                return fd;
        int ours = is_ours(c, fd);
        if (ours <= 0) /* a link has led something else over the cover that was to be sealed */
                return ours < 0 ? ours : -EBUSY;
        return sys_mount_setattr(fd, 0, &a);
}

int perform_enter_root(struct context *c, const void *payload) {
        (void) payload;
        int r = remove_covers(c);
        if (r < 0)
                return r;
        if (fchdir(c->root_fd) < 0)
                return -errno;
        if (!c->stays_in_place) {
                r = CALL(SYS_pivot_root, ".", ".");
                if (r >= 0)
                        r = CALL(SYS_umount2, ".", UMOUNT_DETACH);
                if (r < 0)
                        return r;
        }
        return chdir("/") < 0 ? -errno : 0;
}
