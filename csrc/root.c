/* The root as it is assembled: where mount points are found, and where they may be made. */
#include "context.h"
#include "sys.h"

#include <string.h>
#include <sys/mount.h>

/* Only what lies on a tmpfs of our own may be added to: nothing is ever created on the host. */
int is_ours(const struct context *c, int fd) {
        struct stat st;
        if (fstat(fd, &st) < 0)
                return -errno;
        for (uint32_t i = c->device_count; i > 0; i--)
                if (c->devices[i - 1] == st.st_dev)
                        return 1;
        return 0;
}

int remember_ours(struct context *c, int fd) {
        struct stat st;
        if (fstat(fd, &st) < 0)
                return -errno;
        c->devices[c->device_count++] = st.st_dev;
        return 0;
}

int find_in_root(const struct context *c, const char *path, uint64_t flags) {
        return sys_openat2(c->root_fd, path, flags, RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS);
}

/* Digits before end, which they are ended with. */
char *number_text(char *end, uint64_t n, unsigned base) {
        *--end = 0;
        do
                *--end = (char) ('0' + n % base);
        while ((n /= base) > 0);
        return end;
}

int new_tmpfs(struct context *c, uint64_t size, uint64_t inodes, uint64_t mode, uint64_t attributes, uint64_t uid, uint64_t gid) {
        char text[32];
        cleanup_fd int fs = CALL(SYS_fsopen, "tmpfs", FSOPEN_CLOEXEC_FLAG);
        if (fs < 0)
                return fs;
        int r = CALL(SYS_fsconfig, fs, FSCONFIG_STRING, "mode", number_text(text + sizeof text, mode, 8), 0);
        if (r >= 0 && size > 0)
                r = CALL(SYS_fsconfig, fs, FSCONFIG_STRING, "size", number_text(text + sizeof text, size, 10), 0);
        if (r >= 0 && inodes > 0)
                r = CALL(SYS_fsconfig, fs, FSCONFIG_STRING, "nr_inodes", number_text(text + sizeof text, inodes, 10), 0);
        if (r >= 0 && uid > 0)
                r = CALL(SYS_fsconfig, fs, FSCONFIG_STRING, "uid", number_text(text + sizeof text, uid, 10), 0);
        if (r >= 0 && gid > 0)
                r = CALL(SYS_fsconfig, fs, FSCONFIG_STRING, "gid", number_text(text + sizeof text, gid, 10), 0);
        if (r < 0)
                return r;
        cleanup_fd int mount = sys_new_mount(fs, attributes);
        if (mount < 0)
                return mount;
        r = remember_ours(c, mount);
        return r < 0 ? r : take_fd(&mount);
}

/* A mount can only be cloned or used as an overlay's layer while it is attached; this one hangs in the old root,
 * never above the new one, and goes with it: not for a plan that stays in the old root.  Every source has been
 * opened by then. */
int staging_open(struct context *c) {
        if (c->staging_fd >= 0)
                return 0;
        cleanup_fd int fd = new_tmpfs(c, 0, 0, 0755, ATTR_NOSUID | ATTR_NODEV | ATTR_NOEXEC, 0, 0);
        if (fd < 0)
                return fd;
        int r = CALL(SYS_move_mount, fd, "", AT_FDCWD, "/proc", MOVE_MOUNT_FROM_EMPTY);
        if (r < 0)
                return r;
        c->staging_fd = take_fd(&fd);
        return 0;
}

/* Names a new entry of the staging tmpfs. */
const char *staging_name(struct context *c, uint32_t n) {
        char *end = c->name + sizeof c->name;
        *--end = 0;
        do
                *--end = (char) ('0' + n % 10);
        while ((n /= 10) > 0);
        end -= 5;
        memcpy(end, ".sbx-", 5);
        return end;
}

/* Where covers and generated files are made. What was mounted from there loses its name by EnterRoot. */
int scratch_open(struct context *c) {
        if (c->scratch_fd >= 0)
                return c->scratch_fd;
        int r = staging_open(c);
        return r < 0 ? r : c->staging_fd;
}

int install_root(struct context *c, int mount) {
        int r = CALL(SYS_move_mount, mount, "", AT_FDCWD, "/", MOVE_MOUNT_FROM_EMPTY);
        if (r < 0)
                return r;
        c->root_fd = mount;
        return 0;
}

/* The directory at path, which is made where it is missing and its parent is ours. */
static int make_directory(struct context *c, const char *path) {
        const char *slash = strrchr(path, '/');
        char parent[PATH_MAX];
        if (slash == NULL)
                return -EINVAL;
        size_t n = (size_t) (slash - path);
        memcpy(parent, path, n);
        parent[n] = 0;
        cleanup_fd int above = find_in_root(c, n > 0 ? parent : "/", O_PATH | O_DIRECTORY);
        if (above < 0)
                return above;
        int ours = is_ours(c, above);
        if (ours <= 0)
                return ours < 0 ? ours : -ENOENT;
        if (mkdirat(above, slash + 1, 0755) < 0)
                return -errno;
        int fd = openat(above, slash + 1, O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
        return fd < 0 ? -errno : fd;
}

/* The directory that is the first n characters of path, made with its parents where it is missing. */
static int make_parents(struct context *c, const char *path, size_t n) {
        char parent[PATH_MAX];
        memcpy(parent, path, n);
        parent[n] = 0;

        int fd = find_in_root(c, n > 0 ? parent : "/", O_PATH | O_DIRECTORY);
        for (char *at = parent + 1; fd == -ENOENT && n > 0; at++) {
                at += strcspn(at, "/");
                char cut = *at;
                *at = 0;
                fd = find_in_root(c, parent, O_PATH | O_DIRECTORY);
                if (fd == -ENOENT)
                        fd = make_directory(c, parent);
                *at = cut;
                if (cut == 0 || fd < 0)
                        break;
                close(fd);
                fd = -ENOENT;
        }
        return fd;
}

/* The directory that holds path's last component, made where it is missing; c->parent.ours tells whether more may
 * be made in it. The descriptor stays the context's; in ret_name the last component. */
int parent_of(struct context *c, const char *path, const char **ret_name) {
        const char *slash = strrchr(path, '/');
        size_t n = slash ? (size_t) (slash - path) : 0;
        if (slash == NULL || n >= PATH_MAX)
                return slash ? -ENAMETOOLONG : -EINVAL;
        *ret_name = slash + 1;
        if (c->parent.fd >= 0 && c->parent.len == n && memcmp(c->parent.path, path, n) == 0)
                return c->parent.fd;

        close_fd(&c->parent.fd);
        cleanup_fd int fd = make_parents(c, path, n);
        if (fd < 0)
                return fd;
        c->parent.ours = is_ours(c, fd);
        if (c->parent.ours < 0)
                return c->parent.ours;
        c->parent.path = path;
        c->parent.len = n;
        return c->parent.fd = take_fd(&fd);
}

/* What is mounted at path covers the directory that was found there, or on the way to it. */
void forget_below(struct context *c, const char *path) {
        size_t n = strlen(path);
        if (c->parent.fd >= 0 && n <= c->parent.len && memcmp(c->parent.path, path, n) == 0)
                close_fd(&c->parent.fd);
}

/* What something is mounted on: what lies under this name in a directory, or without one the descriptor itself. */
struct mount_point {
        int fd, own;
        const char *name;
};

static void leave_mount_point(struct mount_point *point) {
        close_fd(&point->own);
}

/* The mount point is made where it is missing and may be. */
static int find_mount_point(struct context *c, const char *path, int directory, int create, struct mount_point *ret_point) {
        const char *name;
        if (create) {
                int parent = parent_of(c, path, &name);
                if (parent < 0) {
                        c->at.detail = DETAIL_MOUNT_POINT;
                        return parent;
                }
                if (c->parent.ours && *name != 0) {
                        int r = directory ? mkdirat(parent, name, 0755) : mknodat(parent, name, S_IFREG | 0444, 0);
                        if (r == 0) { /* ours alone and new: no link can stand there */
                                *ret_point = (struct mount_point) { parent, -1, name };
                                return 0;
                        }
                        if (errno != EEXIST)
                                return -errno;
                }
        }
        int fd = find_in_root(c, path, O_PATH);
        if (fd < 0) {
                c->at.detail = DETAIL_MOUNT_POINT;
                return fd;
        }
        forget_below(c, path);
        *ret_point = (struct mount_point) { fd, fd, "" };
        return 0;
}

/* Attaches a detached tree. */
int attach_at(struct context *c, int tree, const char *path, int directory, int create) {
        __attribute__((cleanup(leave_mount_point))) struct mount_point at = { .own = -1 };
        int r = find_mount_point(c, path, directory, create, &at);
        if (r < 0)
                return r;
        return CALL(SYS_move_mount, tree, "", at.fd, at.name, MOVE_MOUNT_FROM_EMPTY | (*at.name ? 0 : MOVE_MOUNT_TO_EMPTY));
}

/* A file system of the sandbox's own at path: in one call, where fsopen and its kin need one for each option.
 * The attributes must be those that both interfaces number alike. */
int mount_at(struct context *c, const char *type, uint64_t attributes, const char *options, const char *path) {
        __attribute__((cleanup(leave_mount_point))) struct mount_point at = { .own = -1 };
        int r = find_mount_point(c, path, 1, 1, &at);
        if (r >= 0 && fchdir(at.fd) < 0)
                r = -errno;
        return r < 0 ? r : mount(type, *at.name ? at.name : ".", type, attributes, options) < 0 ? -errno : 0;
}

int perform_make_directory(struct context *c, const void *payload) {
        const struct op_path_number *op = payload;
        const char *name;
        int parent = parent_of(c, string_of(c, op->path), &name);
        if (parent < 0 || !c->parent.ours)
                return parent < 0 ? parent : -EROFS;
        if (mkdirat(parent, name, 0755) < 0 && errno != EEXIST)
                return -errno;
        return op->value == 0755 ? 0 : fchmodat(parent, name, (mode_t) op->value, 0) < 0 ? -errno : 0;
}

int perform_make_symlink(struct context *c, const void *payload) {
        const struct op_make_symlink *op = payload;
        const char *name;
        int parent = parent_of(c, string_of(c, op->path), &name);
        if (parent < 0 || !c->parent.ours)
                return parent < 0 ? parent : -EROFS;
        return symlinkat(string_of(c, op->target), parent, name) < 0 ? -errno : 0;
}

static int write_new(int dir, const char *name, const struct op_write_file *op, const uint8_t *content) {
        cleanup_fd int fd = openat(dir, name, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, (mode_t) op->mode);
        if (fd < 0)
                return -errno;
        for (size_t done = 0; done < op->content.len;) {
                ssize_t n = write(fd, content + done, op->content.len - done);
                if (n < 0)
                        return -errno;
                done += (size_t) n;
        }
        return fchmod(fd, (mode_t) op->mode) < 0 ? -errno : 0;
}

/* A generated file: made where the root is ours, else mounted over the one that is there. */
int perform_write_file(struct context *c, const void *payload) {
        const struct op_write_file *op = payload;
        const uint8_t *content = c->plan->data + op->content.offset;
        struct mount_attributes sealed = { .set = ATTR_RDONLY | ATTR_NOSUID | ATTR_NODEV | ATTR_NOEXEC };
        const char *name;
        int parent = parent_of(c, string_of(c, op->path), &name);
        if (parent < 0) {
                c->at.detail = DETAIL_MOUNT_POINT;
                return parent;
        }
        /* What lies there already is a layer's or a bind's. */
        int r = c->parent.ours ? write_new(parent, name, op, content) : -EEXIST;
        if (r != -EEXIST)
                return r;
        int scratch = scratch_open(c);
        if (scratch < 0)
                return scratch;
        const char *staged = staging_name(c, c->staged++);
        r = write_new(scratch, staged, op, content);
        if (r < 0)
                return r;
        cleanup_fd int file = openat(scratch, staged, O_PATH | O_NOFOLLOW | O_CLOEXEC);
        if (file < 0)
                return -errno;
        cleanup_fd int tree = sys_clone_tree(file, 0);
        if (tree < 0)
                return tree;
        r = sys_mount_setattr(tree, 0, &sealed);
        if (r >= 0)
                r = attach_at(c, tree, string_of(c, op->path), 0, 0);
        if (r >= 0 && unlinkat(scratch, staged, 0) < 0) /* what has no name can't be mounted, but stays mounted */
                r = -errno;
        return r;
}

/* The directory that a path's last component lies in, into parent; the length, or -errno. */
int directory_of(const char *path, char parent[PATH_MAX]) {
        const char *slash = strrchr(path, '/');
        if (slash == NULL || slash - path >= PATH_MAX)
                return -EINVAL;
        memcpy(parent, path, (size_t) (slash - path));
        parent[slash - path] = 0;
        return (int) (slash - path);
}
