/* The cache of compiled plans, as the launcher reads it; sandbox/plan/cache.py writes it.
 * It is never trusted beyond what its owner could do anyway. */
#include "cache.h"
#include "sys.h"

#include <limits.h>
#include <linux/capability.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/utsname.h>

/* linux/proc_ns.h PROC_USER_INIT_INO, and a bit that no capability has */
#define FIRST_USER_NAMESPACE 0xEFFFFFFDu
#define OF_A_NAMESPACE (1ull << 63)
#define SETS_MAX PATH_MAX /* here and in sandbox/plan/cache.py */
#define KEY_MAX (SETS_MAX + 3 * PATH_MAX + 64) /* the working directory may stand in it twice */

const char *cache_variable(char *const *environment, const char *name) {
        size_t n = strlen(name);
        for (; environment && *environment; environment++)
                if (strncmp(*environment, name, n) == 0 && (*environment)[n] == '=')
                        return *environment + n + 1;
        return NULL;
}

uint64_t cache_number(char *const *environment, const char *name) {
        const char *text = cache_variable(environment, name);
        return text == NULL || *text < '0' || *text > '9' ? 0 : strtoull(text, NULL, 10);
}

static int is_private(int fd, mode_t type, mode_t mode) {
        struct stat st;
        if (fstat(fd, &st) < 0)
                return -errno;
        return (st.st_mode & S_IFMT) == type && (st.st_mode & 07777) == mode && st.st_uid == geteuid() ? 0 : -EPERM;
}

static int open_directory(char *const *environment) {
        char path[PATH_MAX] = "/var/cache/sbx";
        const char *base, *rest = "/sbx";
        if (geteuid() != 0) {
                base = cache_variable(environment, "XDG_CACHE_HOME");
                if (base == NULL || *base != '/') {
                        base = cache_variable(environment, "HOME");
                        rest = "/.cache/sbx";
                }
                if (base == NULL || *base != '/' || strlen(base) + strlen(rest) >= sizeof path)
                        return -ENOENT;
                strcpy(path, base);
                strcat(path, rest);
        }
        cleanup_fd int fd = open(path, O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
        if (fd < 0)
                return -errno;
        int r = is_private(fd, S_IFDIR, 0700);
        return r < 0 ? r : take_fd(&fd);
}

int cache_read(int fd, struct cached_plan *ret_plan) {
        struct stat st;
        if (fstat(fd, &st) < 0)
                return -errno;
        if (st.st_size < (off_t) sizeof(struct plan_header) || st.st_size > (off_t) PLAN_MAX_SIZE)
                return -EBADMSG;
        struct cached_plan found = { .size = (size_t) st.st_size, .fd = fd };
        found.bytes = mmap(NULL, found.size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
        if (found.bytes == MAP_FAILED)
                return -errno;
        /* Read, not mapped: what was checked can't change any more. */
        ssize_t n = pread(fd, found.bytes, found.size, 0);
        int r = n < 0 ? -errno : (size_t) n != found.size ? -EBADMSG : plan_open(found.bytes, found.size, &found.plan);
        if (r < 0)
                munmap(found.bytes, found.size);
        else
                *ret_plan = found;
        return r;
}

static uint64_t nanoseconds(struct timespec t) {
        return (uint64_t) t.tv_sec * 1000000000ull + (uint64_t) t.tv_nsec;
}

static int file_is_same(const struct plan *p, const struct stamp_file *stamp) {
        struct stat st;
        const char *path = plan_string(p, stamp->path);
        if ((stamp->follow ? stat(path, &st) : lstat(path, &st)) < 0)
                return !stamp->exists && (errno == ENOENT || errno == ENOTDIR || errno == ELOOP);
        if (!stamp->exists || st.st_dev != stamp->device || st.st_ino != stamp->inode)
                return 0;
        return stamp->exists == STAMP_ANY_STATE ||
               ((uint64_t) st.st_size == stamp->size && nanoseconds(st.st_mtim) == stamp->mtime &&
                nanoseconds(st.st_ctim) == stamp->ctime);
}

static uint64_t effective_capabilities(void) {
        struct __user_cap_header_struct head = { .version = _LINUX_CAPABILITY_VERSION_3 };
        struct __user_cap_data_struct sets[_LINUX_CAPABILITY_U32S_3] = { 0 };
        struct stat st;
        if (syscall(SYS_capget, &head, sets) < 0)
                return 0;
        /* Root of a user namespace has the same ones, and can do less. */
        uint64_t elsewhere = stat("/proc/self/ns/user", &st) == 0 && st.st_ino != FIRST_USER_NAMESPACE ? OF_A_NAMESPACE : 0;
        return sets[0].effective | (uint64_t) sets[1].effective << 32 | elsewhere;
}

/* What root may do is told by its capabilities, not by its number. */
static int caller_is_same(const struct stamp_host *stamp) {
        return stamp->uid == getuid() && stamp->gid == getgid() && stamp->capabilities == effective_capabilities();
}

static int host_is_same(const struct plan *p, const struct stamp_host *stamp) {
        struct utsname name;
        return caller_is_same(stamp) && uname(&name) == 0 && strcmp(name.release, plan_string(p, stamp->release)) == 0 &&
               strcmp(SBX_VERSION, plan_string(p, stamp->version)) == 0;
}

static int variable_is_same(const struct plan *p, const struct stamp_variable *stamp, char *const *environment) {
        const char *value = cache_variable(environment, plan_string(p, stamp->name));
        return value == NULL ? !stamp->set : stamp->set && strcmp(value, plan_string(p, stamp->value)) == 0;
}

/* Every plan is stamped with its host and its name at least: one without stamps is not from a cache, and one of
 * another name was put in this one's place. */
static int is_fresh(const struct plan *p, const char *key, const char *cwd, char *const *environment) {
        const struct plan_record *r = plan_first_stamp(p);
        int host = 0, name = 0, same = 1;
        for (uint32_t i = 0; same && i < p->header->stamp_count; i++, r = plan_next(r)) {
                const void *stamp = plan_payload(r);
                switch (r->kind) {
                case 1:
                        same = file_is_same(p, stamp);
                        break;
                case 2:
                        same = variable_is_same(p, stamp, environment);
                        break;
                case 3:
                        host = same = host_is_same(p, stamp);
                        break;
                case 4:
                        same = strcmp(cwd, plan_string(p, ((const struct stamp_cwd *) stamp)->path)) == 0;
                        break;
                case 5:
                        name = same = strcmp(key, plan_string(p, ((const struct stamp_name *) stamp)->key)) == 0;
                        break;
                case 6: /* the name has it as well */
                        break;
                default:
                        same = 0;
                }
        }
        return same && host && name;
}

static int is_path(const char *profile) {
        size_t n = strlen(profile);
        return strchr(profile, '/') != NULL || (n >= 5 && strcmp(profile + n - 5, ".toml") == 0);
}

static void hex_name(uint64_t n, char name[17]) {
        for (int i = 15; i >= 0; i--, n >>= 4)
                name[i] = "0123456789abcdef"[n & 15];
        name[16] = 0;
}

/* "set:LENGTH:NAME=VALUE" for each --set; the lengths keep one text from reading as another. The length, or -errno. */
static int write_sets(char key[SETS_MAX], const char *const *sets) {
        size_t at = 0;
        for (; *sets != NULL; sets++) {
                size_t n = strlen(*sets);
                if (n >= SETS_MAX || at + n + sizeof "set::" + 16 > SETS_MAX)
                        return -ENAMETOOLONG;
                memcpy(key + at, "set:", 4);
                hex_name(n, key + at + 4);
                key[at + 20] = ':';
                memcpy(key + at + 21, *sets, n);
                at += 21 + n;
        }
        return (int) at;
}

/* "name:..." or "path:/...", as the command line says it; the stamps tell whether it is still the same file. */
static int write_key(char key[KEY_MAX], const char *profile, const char *const *sets, const char *cwd) {
        int at = write_sets(key, sets);
        if (at < 0)
                return at;
        key += at;
        if (strlen(profile) >= PATH_MAX)
                return -ENAMETOOLONG;
        if (is_path(profile) && *profile != '/' && *cwd == 0)
                return -ENOENT;
        strcpy(key, is_path(profile) ? "path:" : "name:");
        if (is_path(profile) && *profile != '/') {
                strcat(key, cwd);
                if (cwd[strlen(cwd) - 1] != '/')
                        strcat(key, "/");
        }
        strcat(key, profile);
        return 0;
}

static int try_key(int dir, const char *key, size_t len, const char *cwd, char *const *environment, struct cached_plan *ret_plan) {
        char name[17];
        hex_name(plan_checksum(key, len), name);
        cleanup_fd int fd = openat(dir, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
        if (fd < 0)
                return -errno;
        int r = is_private(fd, S_IFREG, 0600);
        if (r >= 0)
                r = cache_read(fd, ret_plan);
        if (r < 0)
                return r;
        if (!is_fresh(&ret_plan->plan, key, cwd, environment)) {
                munmap(ret_plan->bytes, ret_plan->size);
                return -ESTALE;
        }
        take_fd(&fd);
        return 0;
}

int cache_find(const char *profile, const char *const *sets, char *const *environment, struct cached_plan *ret_plan) {
        char key[KEY_MAX], cwd[PATH_MAX];
        if (getcwd(cwd, sizeof cwd) == NULL || cwd[0] != '/')
                cwd[0] = 0; /* removed, or outside of the root: a plan that needs none still serves */
        cleanup_fd int dir = open_directory(environment);
        if (dir < 0)
                return dir;
        int r = write_key(key, profile, sets, cwd);
        if (r < 0)
                return r;
        r = try_key(dir, key, strlen(key), cwd, environment, ret_plan);
        if (r >= 0)
                return r;
        size_t n = strlen(key);
        strcpy(key + n + 1, "cwd:");
        strcat(key + n + 1, cwd);
        return try_key(dir, key, n + 1 + strlen(key + n + 1), cwd, environment, ret_plan);
}
