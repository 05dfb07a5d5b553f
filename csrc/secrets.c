/* [secrets]: read by the supervisor before the clone, written by the sandbox's first process into memory of its own
 * (a ramfs, which is never swapped out), and wiped in both as soon as they are there. */
#include "cache.h"
#include "context.h"
#include "sys.h"

#include <stdio.h>
#include <string.h>
#include <sys/mman.h>

#define SECRET_MAX (1u << 20)
#define SECRETS_SIZE (4u << 20)
#define SECRETS_MAX 256u

struct secrets {
        uint32_t count, placed;
        size_t used;
        int directory; /* in the sandbox's first process */
        uint64_t uid, gid;
        struct {
                size_t at, size;
                const char *variable; /* that it comes from, or NULL */
        } each[SECRETS_MAX];
        uint8_t bytes[SECRETS_SIZE];
};

int prepare_mount_secrets(struct context *c, const void *payload) {
        (void) payload;
        struct secrets *s = mmap(NULL, sizeof *s, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        if (s == MAP_FAILED)
                return -errno;
        c->secrets = s;
        s->directory = -1;
        return madvise(s, sizeof *s, MADV_DONTDUMP) < 0 ? -errno : 0;
}

/* What follows the structure's head is zero unless it was written. */
void secrets_wipe(struct context *c) {
        struct secrets *s = c->secrets;
        if (s == NULL)
                return;
        close_fd(&s->directory);
        explicit_bzero(s->bytes, s->used);
        munmap(s, sizeof *s);
        c->secrets = NULL;
}

/* ---- Reading ---- */

static int open_credential(const struct context *c, const char *name) {
        const char *directory = cache_variable(c->launch->environment, "CREDENTIALS_DIRECTORY");
        char path[PATH_MAX];
        if (directory == NULL)
                return -ENOTDIR;
        int n = snprintf(path, sizeof path, "%s/%s", directory, name);
        if (n < 0 || (size_t) n >= sizeof path)
                return -ENAMETOOLONG;
        int fd = open(path, O_RDONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
        return fd < 0 ? -errno : fd;
}

static int read_file(struct secrets *s, int opened) {
        cleanup_fd int fd = opened;
        struct stat st;
        if (fd < 0)
                return fd;
        if (fstat(fd, &st) < 0)
                return -errno;
        if (!S_ISREG(st.st_mode))
                return S_ISDIR(st.st_mode) ? -EISDIR : -EINVAL;
        for (size_t size = 0;;) {
                size_t room = SECRETS_SIZE - s->used < SECRET_MAX - size ? SECRETS_SIZE - s->used : SECRET_MAX - size;
                uint8_t more;
                ssize_t n = room > 0 ? read(fd, s->bytes + s->used, room) : read(fd, &more, 1);
                if (n <= 0 || room == 0)
                        return n < 0 ? -errno : n > 0 ? -EFBIG : 0;
                s->used += (size_t) n;
                size += (size_t) n;
        }
}

static int read_variable(struct secrets *s, const char *value) {
        size_t size = value == NULL ? 0 : strlen(value);
        if (value == NULL)
                return -ENOENT;
        if (size > SECRET_MAX || size > SECRETS_SIZE - s->used)
                return -EFBIG;
        memcpy(s->bytes + s->used, value, size);
        s->used += size;
        return 0;
}

int prepare_place_secret(struct context *c, const void *payload) {
        const struct op_place_secret *op = payload;
        const char *source = string_of(c, op->source);
        struct secrets *s = c->secrets;
        if (s == NULL || s->count == SECRETS_MAX)
                return -E2BIG;
        size_t at = s->used;
        int r;
        if (op->from == SECRET_ENV)
                r = read_variable(s, cache_variable(c->launch->environment, source));
        else if (op->from == SECRET_CREDENTIAL)
                r = read_file(s, open_credential(c, source));
        else {
                int fd = open_trusted(AT_FDCWD, source, op->trusted, O_RDONLY | O_NONBLOCK | O_NOCTTY, 0);
                r = fd < 0 ? fd : read_file(s, fd);
        }
        s->each[s->count].at = at;
        s->each[s->count].size = s->used - at;
        s->each[s->count].variable = op->from == SECRET_ENV ? source : NULL;
        s->count++;
        return r;
}

/* What comes in by a variable isn't passed on as one. */
int secrets_hide(const struct context *c, const char *entry, size_t size) {
        const struct secrets *s = c->secrets;
        for (uint32_t i = 0; s != NULL && i < s->count; i++) {
                const char *name = s->each[i].variable;
                if (name != NULL && strlen(name) == size && memcmp(name, entry, size) == 0)
                        return 1;
        }
        return 0;
}

/* ---- In the sandbox's first process ---- */

/* Of the sandbox's own user namespace, which may mount it and no swap will ever see it. */
static int new_ramfs(struct context *c) {
        cleanup_fd int fs = CALL(SYS_fsopen, "ramfs", FSOPEN_CLOEXEC_FLAG);
        if (fs < 0)
                return fs;
        int r = CALL(SYS_fsconfig, fs, FSCONFIG_STRING, "mode", "0500", 0);
        if (r < 0)
                return r;
        cleanup_fd int mount = sys_new_mount(fs, ATTR_NOSUID | ATTR_NODEV | ATTR_NOEXEC);
        if (mount < 0)
                return mount;
        r = remember_ours(c, mount);
        return r < 0 ? r : take_fd(&mount);
}

int perform_mount_secrets(struct context *c, const void *payload) {
        const struct op_mount_secrets *op = payload;
        struct secrets *s = c->secrets;
        s->uid = op->uid;
        s->gid = op->gid;
        s->directory = new_ramfs(c);
        if (s->directory < 0)
                return s->directory;
        int r = attach_at(c, s->directory, string_of(c, op->target), 1, 1);
        if (r >= 0 && fchownat(s->directory, "", (uid_t) s->uid, (gid_t) s->gid, AT_EMPTY_PATH) < 0)
                r = -errno;
        return r;
}

int perform_place_secret(struct context *c, const void *payload) {
        const struct op_place_secret *op = payload;
        struct secrets *s = c->secrets;
        uint32_t i = s->placed++;
        cleanup_fd int fd = openat(s->directory, string_of(c, op->name), O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0400);
        if (fd < 0)
                return -errno;
        for (size_t done = 0; done < s->each[i].size;) {
                ssize_t n = write(fd, s->bytes + s->each[i].at + done, s->each[i].size - done);
                if (n < 0)
                        return -errno;
                done += (size_t) n;
        }
        if (fchmod(fd, 0400) < 0 || fchown(fd, (uid_t) s->uid, (gid_t) s->gid) < 0)
                return -errno;
        if (s->placed == s->count)
                secrets_wipe(c);
        return 0;
}
