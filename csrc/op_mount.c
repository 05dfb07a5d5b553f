/* Ops that build the mount tree.  A source is opened once, checked on its descriptor and mounted by it. */
#include "context.h"
#include "sys.h"

#include <stdlib.h>
#include <string.h>
#include <sys/sysmacros.h>

#define MAX_LAYERS 64

/* A detached clone of the tree at fd with its attributes set; private, and its submounts' own flags kept. */
static int clone_tree(int fd, uint64_t attributes, uint64_t clear, int recursive, int userns) {
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

static int open_source(const struct context *c, const char *path, uint64_t flags) {
        if (flags & BIND_FROM_ROOT)
                return find_in_root(c, path, O_PATH);
        if (flags & BIND_FROM_ROOTFS)
                return sys_openat2(c->rootfs_fd, path, O_PATH, RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS);
        return sys_openat2(AT_FDCWD, path, O_PATH, RESOLVE_NO_MAGICLINKS);
}

static int tree_of_bind(const struct context *c, const struct op_bind_mount *op) {
        cleanup_fd int userns = -1;
        struct stat st;
        cleanup_fd int fd = open_source(c, string_of(c, op->source), op->flags);
        if (fd < 0)
                return fd;
        if (op->flags & BIND_IDMAP_OWNER) {
                if (fstat(fd, &st) < 0)
                        return -errno;
                userns = idmap_user_namespace(st.st_uid, op->uid, st.st_gid, op->gid);
                if (userns < 0)
                        return userns;
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

/* The directory that a path's last component lies in, into parent; the length, or -errno. */
static int directory_of(const char *path, char parent[PATH_MAX]) {
        const char *slash = strrchr(path, '/');
        if (slash == NULL || slash - path >= PATH_MAX)
                return -EINVAL;
        memcpy(parent, path, (size_t) (slash - path));
        parent[slash - path] = 0;
        return (int) (slash - path);
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

int perform_mount_tmpfs(struct context *c, const void *payload) {
        const struct op_mount_tmpfs *op = payload;
        cleanup_fd int fd = new_tmpfs(c, op->size, op->inodes, op->mode, op->attributes, op->uid, op->gid);
        if (fd < 0)
                return fd;
        int r = attach_at(c, fd, string_of(c, op->target), 1, 1);
        if (r >= 0 && c->scratch_fd < 0)
                c->scratch_fd = take_fd(&fd);
        return r;
}

static int stage_tree(struct context *c, int tree, char *ret_name) {
        const char *name = staging_name(c, c->staged++);
        strcpy(ret_name, name);
        if (mkdirat(c->staging_fd, name, 0755) < 0)
                return -errno;
        return CALL(SYS_move_mount, tree, "", c->staging_fd, name, MOVE_MOUNT_FROM_EMPTY);
}

/* An overlay's layers are opened like every other source: where the right to them is, before anything is mounted. */
int prepare_overlay(struct context *c, const void *payload) {
        const struct op_mount_overlay *op = payload;
        if (op->lower.len > MAX_LAYERS)
                return -E2BIG;
        c->layer_count += op->lower.len + 1;
        return 0;
}

static int open_layer(struct context *c, const char *path, uint64_t attributes) {
        cleanup_fd int fd = sys_openat2(AT_FDCWD, path, O_PATH | O_DIRECTORY, RESOLVE_NO_MAGICLINKS);
        if (fd < 0)
                return fd;
        int tree = clone_tree(fd, attributes, 0, 0, -1);
        if (tree < 0)
                return tree;
        c->layer_fds[c->layers_opened++] = tree;
        return 0;
}

int open_overlay(struct context *c, const void *payload) {
        const struct op_mount_overlay *op = payload;
        const struct plan_ref *lower = plan_list(c->plan, op->lower);
        char parent[PATH_MAX];
        int r = 0;
        for (uint32_t i = 0; r >= 0 && i < op->lower.len; i++)
                r = open_layer(c, string_of(c, lower[i]), ATTR_RDONLY | ATTR_NOSUID | ATTR_NODEV);
        if (r < 0)
                return r;
        if (op->upper.len == 0) {
                c->layer_fds[c->layers_opened++] = -1;
                return 0;
        }
        r = directory_of(string_of(c, op->upper), parent);
        return r < 0 ? r : open_layer(c, r > 0 ? parent : "/", ATTR_NOSUID | ATTR_NODEV);
}

static int next_layer(struct context *c, char *ret_name) {
        cleanup_fd int tree = c->layer_fds[c->layers_used];
        c->layer_fds[c->layers_used++] = -1;
        return stage_tree(c, tree, ret_name);
}

/* An overlay's top shows its upper directory's owner and mode, not those of the layer below. */
static int copy_owner(int from_dir, const char *from, int dir, const char *name) {
        struct stat st;
        if (fstatat(from_dir, from, &st, 0) < 0)
                return -errno;
        if (fchownat(dir, name, st.st_uid, st.st_gid, 0) < 0 && errno != EINVAL) /* an id that isn't mapped */
                return -errno;
        return fchmodat(dir, name, st.st_mode & 07777, 0) < 0 ? -errno : 0;
}

/* Where an overlay's changes go: a directory of the host that holds upper and work, or a tmpfs of our own. */
static int overlay_upper(struct context *c, const struct op_mount_overlay *op, const char *top, char upper[64], char work[64]) {
        char name[16];
        if (op->upper.len > 0) {
                const char *upper_name = strrchr(string_of(c, op->upper), '/');
                const char *work_name = strrchr(string_of(c, op->work), '/');
                if (work_name == NULL || strlen(upper_name) > 40 || strlen(work_name) > 40)
                        return -EINVAL;
                int r = next_layer(c, name);
                if (r < 0)
                        return r;
                strcat(strcpy(upper, name), upper_name);
                strcat(strcpy(work, name), work_name);
                return 0;
        }
        c->layers_used++;
        cleanup_fd int fd = new_tmpfs(c, op->size, 0, 0755, ATTR_NOSUID | ATTR_NODEV, 0, 0);
        if (fd < 0)
                return fd;
        if (mkdirat(fd, "upper", 0755) < 0 || mkdirat(fd, "work", 0755) < 0)
                return -errno;
        int r = copy_owner(c->staging_fd, top, fd, "upper");
        if (r >= 0)
                r = stage_tree(c, fd, name);
        if (r < 0)
                return r;
        strcat(strcpy(upper, name), "/upper");
        strcat(strcpy(work, name), "/work");
        return 0;
}

/* What is on a tmpfs of ours above is ours too: mount points may be made in it. */
static int note_device(struct context *c, int mount) {
        struct stat st;
        if (fstat(mount, &st) < 0)
                return -errno;
        c->devices[c->device_count++] = st.st_dev;
        return 0;
}

int perform_mount_overlay(struct context *c, const void *payload) {
        const struct op_mount_overlay *op = payload;
        char layers[MAX_LAYERS * 16] = "", name[16], top[16] = "", upper[64], work[64];

        int r = staging_open(c);
        for (uint32_t i = 0; r >= 0 && i < op->lower.len; i++) {
                r = next_layer(c, name);
                if (r < 0)
                        break;
                if (i == 0)
                        strcpy(top, name);
                else
                        strcat(layers, ":");
                strcat(layers, name);
        }
        if (r >= 0)
                r = overlay_upper(c, op, top, upper, work);
        if (r < 0)
                return r;
        /* The layers' names are relative: a detached or covered mount has no path. */
        if (fchdir(c->staging_fd) < 0)
                return -errno;
        cleanup_fd int fs = CALL(SYS_fsopen, "overlay", FSOPEN_CLOEXEC_FLAG);
        if (fs < 0)
                return fs;
        r = CALL(SYS_fsconfig, fs, FSCONFIG_STRING, "lowerdir", layers, 0);
        if (r >= 0)
                r = CALL(SYS_fsconfig, fs, FSCONFIG_STRING, "upperdir", upper, 0);
        if (r >= 0)
                r = CALL(SYS_fsconfig, fs, FSCONFIG_STRING, "workdir", work, 0);
        if (r >= 0 && c->maps != NULL) /* trusted.* attributes need the initial user namespace */
                r = CALL(SYS_fsconfig, fs, FSCONFIG_FLAG, "userxattr", NULL, 0);
        if (r >= 0)
                r = CALL(SYS_fsconfig, fs, FSCONFIG_CREATE, NULL, NULL, 0);
        if (r < 0)
                return r;
        int fd = CALL(SYS_fsmount, fs, FSMOUNT_CLOEXEC_FLAG, (unsigned) op->attributes);
        if (fd < 0)
                return fd;
        if (op->upper.len == 0) {
                r = note_device(c, fd);
                if (r < 0)
                        return r;
        }
        if (c->root_fd < 0)
                return install_root(c, fd);
        r = attach_at(c, fd, string_of(c, op->target), 1, 1);
        close(fd);
        return r;
}

/* Something to cover a path with, on the staging tmpfs. */
static int new_cover(struct context *c, int dir, int directory, mode_t mode) {
        if (dir < 0)
                return dir;
        const char *name = staging_name(c, c->staged++);
        if ((directory ? mkdirat(dir, name, mode) : mknodat(dir, name, S_IFREG | (mode & 0444), 0)) < 0)
                return -errno;
        cleanup_fd int fd = openat(dir, name, O_PATH | O_NOFOLLOW | O_CLOEXEC);
        if (fd < 0)
                return -errno;
        return take_fd(&fd);
}

/* What covers a path stays the same for all paths, unless mount points are to be made in it. */
static int cover_of(struct context *c, int directory, uint64_t how, int *ret_own) {
        if (how == MASK_PASSAGE) {
                int r = staging_open(c);
                return *ret_own = r < 0 ? r : new_cover(c, c->staging_fd, directory, 0111);
        }
        struct cover *kept = &c->covers[how == MASK_DENY][directory];
        if (kept->fd < 0) {
                kept->fd = new_cover(c, scratch_open(c), directory, how == MASK_DENY ? 0 : 0555);
                kept->number = c->staged - 1;
        }
        return kept->fd;
}

/* Covers lose their names: a removed directory stays empty for ever. */
static int remove_covers(struct context *c) {
        for (int i = 0; i < 4; i++) {
                struct cover *kept = &c->covers[i / 2][i % 2];
                if (kept->fd >= 0 && unlinkat(scratch_open(c), staging_name(c, kept->number), i % 2 ? AT_REMOVEDIR : 0) < 0)
                        return -errno;
                close_fd(&kept->fd);
        }
        return 0;
}

/* What is to be covered. In the fresh procfs by the descriptor of its mount: another sandbox that may write to the
 * tree below could exchange the way there. */
static int find_to_cover(const struct context *c, const char *path) {
        size_t n = c->proc_path ? strlen(c->proc_path) : 0;
        if (n > 0 && strncmp(path, c->proc_path, n) == 0 && path[n] == '/')
                return sys_openat2(c->proc_fd, path + n + 1, O_PATH, RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS);
        return find_in_root(c, path, O_PATH);
}

int perform_mask_path(struct context *c, const void *payload) {
        const struct op_path_number *op = payload;
        struct stat st;
        struct mount_attributes sealed = { .set = ATTR_RDONLY | ATTR_NOSUID | ATTR_NODEV | ATTR_NOEXEC };
        cleanup_fd int own = -1, point = find_to_cover(c, string_of(c, op->path));
        if (point == -ENOENT || point == -ENOTDIR)
                return 0;
        if (point < 0)
                return point;
        if (fstat(point, &st) < 0)
                return -errno;
        int cover = cover_of(c, S_ISDIR(st.st_mode), op->value, &own);
        if (cover < 0)
                return cover;
        cleanup_fd int tree = sys_clone_tree(cover, 0);
        if (tree < 0)
                return tree;
        if (op->value != MASK_PASSAGE) { /* a passage takes mount points yet; SetMountAttributes seals it */
                int r = sys_mount_setattr(tree, 0, &sealed);
                if (r < 0)
                        return r;
        }
        forget_below(c, string_of(c, op->path));
        return CALL(SYS_move_mount, tree, "", point, "", MOVE_MOUNT_FROM_EMPTY | MOVE_MOUNT_TO_EMPTY);
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
