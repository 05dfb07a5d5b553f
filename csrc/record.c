/* The runtime directory, and a live sandbox's place in it. */
#include "record.h"
#include "cache.h"
#include "fields.h"
#include "plan.h"
#include "service.h"
#include "sys.h"

#include <dirent.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <time.h>

#define COMMAND_MAX 4096 /* bytes of the command that are kept */
#define TRIES 8

/* ---- The runtime directory ---- */

static int join(char path[PATH_MAX], const char *base, const char *rest) {
        int n = snprintf(path, PATH_MAX, "%s%s", base, rest);
        return n < 0 || n >= PATH_MAX ? -ENAMETOOLONG : 0;
}

static int runtime_path(char *const *environment, char path[PATH_MAX]) {
        const char *base = cache_variable(environment, "SBX_RUNTIME_DIR");
        struct stat st;
        uid_t uid = geteuid();
        if (base != NULL && *base == '/')
                return join(path, base, "");
        if (uid == 0)
                return join(path, "/run", "/sbx");
        base = cache_variable(environment, "XDG_RUNTIME_DIR");
        if (base != NULL && *base == '/')
                return join(path, base, "/sbx");
        snprintf(path, PATH_MAX, "/run/user/%u", (unsigned) uid);
        if (stat(path, &st) >= 0 && st.st_uid == uid) {
                strcat(path, "/sbx");
                return 0;
        }
        snprintf(path, PATH_MAX, "/tmp/sbx-%u", (unsigned) uid);
        return 0;
}

/* Nobody else may put anything into it: what lies there is acted on. */
int record_open_runtime(char *const *environment, int make) {
        char path[PATH_MAX];
        struct stat st;
        int r = runtime_path(environment, path);
        if (r < 0)
                return r;
        int fd = open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
        if (fd < 0 && errno == ENOENT && make) {
                if (mkdir(path, 0700) < 0 && errno != EEXIST)
                        return -errno;
                fd = open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
        }
        if (fd < 0)
                return -errno;
        if (fstat(fd, &st) >= 0 && st.st_uid == geteuid() && (st.st_mode & 022) == 0)
                return fd;
        close(fd);
        return -EPERM;
}

/* ---- Names ---- */

int record_is_name(const char *text) {
        size_t n = strlen(text);
        if (n == 0 || n > SBX_NAME_MAX || *text == '.' || *text == '-')
                return 0;
        return strspn(text, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_.-") == n;
}

static const struct op_identify *identity_of(const struct plan *p) {
        const struct plan_record *r = plan_first_op(p);
        for (uint32_t i = 0; i < p->header->op_count; i++, r = plan_next(r))
                if (r->kind == PLAN_Identify)
                        return plan_payload(r);
        return NULL;
}

const char *record_profile(const struct plan *p) {
        const struct op_identify *identity = identity_of(p);
        return identity == NULL ? NULL : plan_string(p, identity->profile);
}

int record_name(const struct sbx_launch *launch, char name[SBX_NAME_MAX + 1]) {
        const struct op_identify *identity = identity_of(launch->plan);
        const char *stem = identity == NULL ? "" : plan_string(launch->plan, identity->stem);
        if (launch->name == NULL)
                snprintf(name, SBX_NAME_MAX + 1, "%.48s-%d", record_is_name(stem) ? stem : "sandbox", (int) getpid());
        else if (!record_is_name(launch->name))
                return -EINVAL;
        else
                strcpy(name, launch->name);
        return 0;
}

/* ---- Claiming ---- */

static void empty(int directory) {
        int fd = openat(directory, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        DIR *entries = fd < 0 ? NULL : fdopendir(fd);
        if (entries == NULL) {
                close_fd(&fd);
                return;
        }
        for (const struct dirent *e; (e = readdir(entries)) != NULL;)
                if (strcmp(e->d_name, ".") != 0 && strcmp(e->d_name, "..") != 0 && unlinkat(directory, e->d_name, 0) < 0)
                        unlinkat(directory, e->d_name, AT_REMOVEDIR);
        closedir(entries);
}

static int lock(int directory) {
        return flock(directory, LOCK_EX | LOCK_NB) < 0 ? -errno : 0;
}

/* The lock that tells of life.  It can be asked for without being taken, so those who look are in nobody's way. */
static int show_life(int directory) {
        struct flock l = { .l_type = F_RDLCK, .l_whence = SEEK_SET };
        return fcntl(directory, F_OFD_SETLK, &l) < 0 ? -errno : 0;
}

static int is_alive(int directory) {
        struct flock l = { .l_type = F_WRLCK, .l_whence = SEEK_SET };
        return fcntl(directory, F_OFD_GETLK, &l) < 0 || l.l_type != F_UNLCK;
}

static int is_named(int runtime, const char *name, int directory) {
        struct stat ours, there;
        return fstat(directory, &ours) >= 0 && fstatat(runtime, name, &there, AT_SYMLINK_NOFOLLOW) >= 0 && ours.st_dev == there.st_dev &&
               ours.st_ino == there.st_ino;
}

/* What a dead supervisor has left.  -EEXIST: it lives; -EAGAIN: somebody else is removing it, or has, and the name is
 * another's by now. */
static int remove_stale(int runtime, const char *name) {
        cleanup_fd int old = openat(runtime, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
        if (old < 0)
                return errno == ENOENT ? 0 : -errno;
        if (is_alive(old))
                return -EEXIST;
        if (lock(old) < 0 || !is_named(runtime, name, old))
                return -EAGAIN;
        empty(old);
        return unlinkat(runtime, name, AT_REMOVEDIR) < 0 && errno != ENOENT ? -errno : 0;
}

/* The directory appears under its name with its lock taken, so that nobody can hold it for a stale one. */
static int claim(int runtime, const char *name) {
        char passing[SBX_NAME_MAX + 32];
        snprintf(passing, sizeof passing, ".%s.%d", name, (int) getpid());
        if (mkdirat(runtime, passing, 0700) < 0 && errno != EEXIST)
                return -errno;
        cleanup_fd int fd = openat(runtime, passing, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
        int r = fd < 0 ? -errno : lock(fd);
        if (r >= 0)
                r = show_life(fd);
        for (int tries = 0; r >= 0 && tries < TRIES; tries++) {
                r = CALL(SYS_renameat2, runtime, passing, runtime, name, 1u /* RENAME_NOREPLACE */);
                if (r >= 0)
                        return take_fd(&fd);
                if (r != -EEXIST)
                        break;
                r = remove_stale(runtime, name);
                if (r == -EAGAIN)
                        r = nanosleep(&(struct timespec) { .tv_nsec = 2000000 }, NULL) < 0 ? -errno : 0;
        }
        unlinkat(runtime, passing, AT_REMOVEDIR);
        return r < 0 ? r : -EEXIST;
}

int record_claim(const struct sbx_launch *launch) {
        struct sbx_record *record = launch->record;
        int r = record_name(launch, record->name);
        if (r < 0)
                return r;
        cleanup_fd int runtime = record_open_runtime(launch->environment, 1);
        if (runtime < 0)
                return runtime;
        int directory = claim(runtime, record->name);
        if (directory < 0)
                return directory;
        record->runtime_fd = take_fd(&runtime);
        record->directory_fd = directory;
        return 0;
}

/* ---- What it says ---- */

struct text {
        char bytes[COMMAND_MAX + 8 * PATH_MAX];
        size_t size;
};

static void put(struct text *t, const char *key, const char *value) {
        int n = snprintf(t->bytes + t->size, sizeof t->bytes - t->size, "%s=%s", key, value);
        if (n >= 0 && (size_t) n < sizeof t->bytes - t->size)
                t->size += (size_t) n + 1;
}

static void put_number(struct text *t, const char *key, int64_t value) {
        char digits[24];
        snprintf(digits, sizeof digits, "%lld", (long long) value);
        put(t, key, digits);
}

static void put_words(struct text *t, const struct plan *p, char *const *argv) {
        const struct plan_record *r = plan_first_op(p);
        size_t used = 0;
        for (size_t i = 0; argv != NULL && argv[i] != NULL && (used += strlen(argv[i]) + 1) <= COMMAND_MAX; i++)
                put(t, "argv", argv[i]);
        for (uint32_t i = 0; argv == NULL && i < p->header->op_count; i++, r = plan_next(r)) {
                if (r->kind != PLAN_Execute)
                        continue;
                const struct op_execute *op = plan_payload(r);
                const struct plan_ref *words = plan_list(p, op->argv);
                for (uint32_t n = 0; n < op->argv.len && (used += words[n].len + 1) <= COMMAND_MAX; n++)
                        put(t, "argv", plan_string(p, words[n]));
        }
}

/* For who cleans up when this supervisor can't. */
static void put_cgroups(struct text *t, const struct sbx_cgroups *g) {
        for (uint32_t i = 0; i < g->count; i++) {
                char link[48], path[PATH_MAX];
                snprintf(link, sizeof link, "/proc/self/fd/%d", g->at[i].directory);
                ssize_t n = readlink(link, path, sizeof path - 1);
                if (n <= 0)
                        continue;
                path[n] = 0;
                put(t, "cgroup", path);
        }
}

int record_write(const struct sbx_launch *launch, const struct sbx_child *child) {
        struct sbx_record *record = launch->record;
        const struct op_identify *identity = identity_of(launch->plan);
        struct text t = { .size = 0 };
        put(&t, "version", RECORD_VERSION);
        put(&t, "name", record->name);
        put(&t, "profile", identity == NULL ? "" : plan_string(launch->plan, identity->profile));
        put_number(&t, "supervisor", getpid());
        put_number(&t, "first", child->pid);
        put_number(&t, "has_init", child->has_init);
        put_number(&t, "started_ns", realtime_ns());
        put_number(&t, "begun_ns", (int64_t) child->usage.begun_ns);
        put_number(&t, "plan_fd", launch->plan_fd);
        put_number(&t, "survive", child->service != NULL && service_survives(child->service));
        put_cgroups(&t, &child->cgroups);
        put_words(&t, launch->plan, launch->argv);
        int r = fields_replace(record->directory_fd, "record", t.bytes, t.size);
        if (r < 0)
                record_remove(record);
        return r;
}

int record_take(const struct sbx_launch *launch) {
        char old[RECORD_MAX];
        struct text t = { .size = 0 };
        int directory = launch->record->directory_fd;
        ssize_t n = fields_read(directory, "record", old, sizeof old);
        if (n < 0)
                return (int) n;
        for (char *at = old, *next; at < old + n; at = next) {
                char *equals = strchr(at, '=');
                next = at + strlen(at) + 1;
                if (equals == NULL)
                        continue;
                *equals = 0;
                if (strcmp(at, "supervisor") == 0)
                        put_number(&t, at, getpid());
                else if (strcmp(at, "plan_fd") == 0)
                        put_number(&t, at, launch->plan_fd);
                else
                        put(&t, at, equals + 1);
        }
        return fields_replace(directory, "record", t.bytes, t.size);
}

void record_remove(struct sbx_record *r) {
        close_fd(&r->control_fd);
        if (r->directory_fd >= 0) {
                empty(r->directory_fd);
                if (is_named(r->runtime_fd, r->name, r->directory_fd)) /* somebody may have removed it, and the next have taken it */
                        unlinkat(r->runtime_fd, r->name, AT_REMOVEDIR);
        }
        close_fd(&r->directory_fd);
        close_fd(&r->runtime_fd);
}
