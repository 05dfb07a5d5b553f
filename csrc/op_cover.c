/* What covers a path, so that it looks empty or can't be opened. */
#include "context.h"
#include "sys.h"

#include <string.h>

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

/* What isn't there can't be covered.  Where it can't be made nobody with the caller's rights can make it later. */
int prepare_provide_directory(struct context *c, const void *payload) {
        mkdir(string_of(c, ((const struct op_path *) payload)->path), 0700);
        return 0;
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
int remove_covers(struct context *c) {
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

/* The kernel lets nobody rename or remove a mount point, but a directory above it. */
static int keep_in_place(struct context *c, const char *path, uint64_t how) {
        struct stat st;
        cleanup_fd int point = find_in_root(c, path, O_PATH | O_NOFOLLOW);
        if (point == -ENOENT || point == -ENOTDIR)
                return 0;
        if (point < 0)
                return point;
        if (fstat(point, &st) < 0)
                return -errno;
        if (S_ISLNK(st.st_mode))
                return -ELOOP;
        /* A file in a directory's place must not come to lead elsewhere, as the .git of a worktree could. */
        uint64_t attributes = how == MASK_READ_ONLY || !S_ISDIR(st.st_mode) ? ATTR_RDONLY : 0;
        cleanup_fd int tree = clone_tree(point, attributes, 0, 1, -1);
        if (tree < 0)
                return tree;
        forget_below(c, path);
        return CALL(SYS_move_mount, tree, "", point, "", MOVE_MOUNT_FROM_EMPTY | MOVE_MOUNT_TO_EMPTY);
}

int perform_mask_path(struct context *c, const void *payload) {
        const struct op_path_number *op = payload;
        if (op->value == MASK_READ_ONLY || op->value == MASK_PIN)
                return keep_in_place(c, string_of(c, op->path), op->value);
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
