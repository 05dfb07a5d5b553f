/* Overlays: layers from the host, what is written on a tmpfs of our own or in a directory of the host. */
#include "context.h"
#include "sys.h"

#include <string.h>

#define MAX_LAYERS 64

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
        if (op->upper.len == 0) { /* on a tmpfs of ours: mount points may be made in it */
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
        if (r < 0)
                return r;
        cleanup_fd int fd = sys_new_mount(fs, op->attributes);
        if (fd < 0)
                return fd;
        if (op->upper.len == 0) {
                r = remember_ours(c, fd);
                if (r < 0)
                        return r;
        }
        if (c->root_fd >= 0)
                return attach_at(c, fd, string_of(c, op->target), 1, 1);
        r = install_root(c, fd);
        if (r >= 0)
                take_fd(&fd);
        return r;
}
