/* Where a sandbox's cgroup lies, decided at launch from where the supervisor is.
 *
 *   version 1: OWN/sbx/NAME in each hierarchy, so that limits of the caller's own cgroup hold for the sandbox too
 *   version 2: UNIT/sbx/NAME, where the supervisor runs in a unit (or scope) whose subtree systemd has delegated
 *              /sbx/NAME below the hierarchy's mount point, for root anywhere else but in a service
 *              OWN/sbx/NAME, where there is no systemd and the cgroup belongs to the user
 *
 * Processes may only be in leaves of version 2.  If the supervisor sits in UNIT itself, it moves itself to a leaf
 * UNIT/supervisor, and nobody else: whoever starts others there is to say DelegateSubgroup=.
 *
 * The directory `sbx` stays; NAME is removed by the supervisor.  If that is killed, NAME stays too.  `sbx gc` finds it
 * by the fields `cgroup=` of a record that no living supervisor holds; if it was killed before it had written one, by
 * being in a directory `sbx`, without processes, under a name that no living sandbox has. */
#include "cgroup.h"
#include "sys.h"
#include "text.h"

#include <string.h>
#include <sys/vfs.h>
#include <sys/xattr.h>

#define MAGIC_V1 0x27e0eb
#define MAGIC_V2 0x63677270
#define MAX_SAME_NAME 1000

/* ---- Where this process is ---- */

ssize_t read_text(int dir, const char *path, char *text, size_t size) {
        cleanup_fd int fd = openat(dir, path, O_RDONLY | O_CLOEXEC);
        ssize_t n = fd < 0 ? -1 : read(fd, text, size - 1);
        if (n < 0)
                return -errno;
        text[n] = 0;
        return n;
}

static int is_listed(const char *list, const char *name) {
        size_t n = strlen(name);
        for (; *list != 0; list += strcspn(list, ","), list += *list == ',')
                if (strncmp(list, name, n) == 0 && (list[n] == ',' || list[n] == 0))
                        return 1;
        return 0;
}

/* A line of /proc/self/cgroup is "number:controllers:path"; version 2 is the one without controllers. */
static char *find_own(char *text, const char *controller) {
        for (char *line = text, *end; *line != 0; line = end) {
                end = line + strcspn(line, "\n");
                if (*end != 0)
                        *end++ = 0;
                char *list = strchr(line, ':'), *path = list == NULL ? NULL : strchr(list + 1, ':');
                if (path == NULL)
                        continue;
                *path++ = 0;
                if (controller == NULL ? list[1] == 0 : is_listed(list + 1, controller))
                        return path;
        }
        return NULL;
}

static int open_below(int mount, const char *path) {
        path += strspn(path, "/");
        return *path == 0 ? fcntl(mount, F_DUPFD_CLOEXEC, 3)
                          : sys_openat2(mount, path, O_RDONLY | O_DIRECTORY, RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS);
}

/* ---- Version 2: whose subtree it is ---- */

static int has_suffix(const char *name, size_t n, const char *suffix) {
        size_t m = strlen(suffix);
        return n > m && memcmp(name + n - m, suffix, m) == 0;
}

/* The innermost unit of systemd's on the path: its length, 0 where there is none. */
static size_t find_unit(const char *path, int *ret_service) {
        size_t found = 0;
        for (const char *at = path; *at != 0;) {
                at += strspn(at, "/");
                size_t n = strcspn(at, "/");
                int service = has_suffix(at, n, ".service");
                if (service || has_suffix(at, n, ".scope")) {
                        found = (size_t) (at + n - path);
                        *ret_service = service;
                }
                at += n;
        }
        return found;
}

static int says_one(int directory, const char *attribute) {
        char value[2];
        return fgetxattr(directory, attribute, value, sizeof value) == 1 && value[0] == '1';
}

/* systemd marks what it leaves to others; an old one only gives it to the unit's user. */
static int is_delegated(int directory) {
        struct stat here, above;
        if (says_one(directory, "user.delegate") || says_one(directory, "trusted.delegate"))
                return 1;
        return geteuid() != 0 && fstat(directory, &here) == 0 && here.st_uid == geteuid() && fstatat(directory, "..", &above, 0) == 0 &&
               above.st_uid != geteuid();
}

static int belongs_to_us(int directory) {
        return faccessat(directory, "cgroup.procs", W_OK, AT_EACCESS) == 0 && faccessat(directory, "cgroup.subtree_control", W_OK, AT_EACCESS) == 0;
}

static int find_subtree(int mount, char *own, uint32_t *ret_detail) {
        int service = 0;
        size_t unit = find_unit(own, &service);
        *ret_detail = DETAIL_NOT_DELEGATED;
        if (unit > 0) {
                own[unit] = 0;
                cleanup_fd int directory = open_below(mount, own);
                if (directory >= 0 && is_delegated(directory))
                        return take_fd(&directory);
                return geteuid() == 0 && !service ? open_below(mount, "/") : -EACCES;
        }
        if (geteuid() == 0)
                return open_below(mount, "/");
        cleanup_fd int directory = open_below(mount, own);
        if (directory >= 0 && belongs_to_us(directory))
                return take_fd(&directory);
        /* After an earlier launch this process may be in the leaf. */
        char *last = strrchr(own, '/');
        if (last == NULL || strcmp(last, "/supervisor") != 0)
                return -EACCES;
        *last = 0;
        close_fd(&directory);
        directory = open_below(mount, own);
        return directory >= 0 && belongs_to_us(directory) ? take_fd(&directory) : -EACCES;
}

/* ---- Making it ---- */

static uint32_t detail_of(int error) {
        switch (error) {
        case -EROFS:
                return DETAIL_CGROUP_READ_ONLY;
        case -EACCES:
        case -EPERM:
                return DETAIL_NOT_DELEGATED;
        default:
                return DETAIL_CGROUP_MADE;
        }
}

static int open_directory(int above, const char *name) {
        return CALL(SYS_openat, above, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
}

static int open_or_make(int above, const char *name, uint32_t *ret_detail) {
        int fd = -ENOENT;
        for (int tries = 0; fd == -ENOENT && tries < 8; tries++) { /* somebody may remove it at once */
                fd = open_directory(above, name);
                if (fd == -ENOENT && mkdirat(above, name, 0755) < 0 && errno != EEXIST)
                        fd = -errno;
                else if (fd == -ENOENT)
                        fd = open_directory(above, name);
        }
        if (fd < 0)
                *ret_detail = detail_of(fd);
        return fd;
}

void cgroup_name(const char *name, uint32_t number, char out[SBX_CGROUP_NAME + 12]) {
        char *end = append(out, name);
        if (number > 0)
                append_number(append(end, "-"), number);
}

/* Another with this name may live in another PID namespace, or have been left by a crash. */
static int make_named(int above, const char *name, struct sbx_cgroup *ret, uint32_t *ret_detail) {
        char numbered[SBX_CGROUP_NAME + 12];
        uint32_t number = 0;
        int fd = -EEXIST;
        for (; number < MAX_SAME_NAME; number++) {
                cgroup_name(name, number, numbered);
                fd = mkdirat(above, numbered, 0755) < 0 ? -errno : 0;
                if (fd != -EEXIST)
                        break;
        }
        if (fd >= 0) {
                fd = open_directory(above, numbered);
                if (fd < 0)
                        unlinkat(above, numbered, AT_REMOVEDIR);
        }
        if (fd < 0) {
                *ret_detail = detail_of(fd);
                return fd;
        }
        ret->directory = fd;
        ret->number = number;
        return 0;
}

int cgroup_make(const char *mount, const char *controller, int version, const char *name, struct sbx_cgroup *ret, uint32_t *ret_detail) {
        char text[8192] = "";
        struct statfs fs;
        cleanup_fd int top = open(mount, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        *ret_detail = DETAIL_NO_HIERARCHY;
        if (top < 0)
                return -errno;
        if (fstatfs(top, &fs) < 0)
                return -errno;
        if (fs.f_type != (version == 2 ? MAGIC_V2 : MAGIC_V1))
                return -ENODEV;
        ssize_t n = read_text(AT_FDCWD, "/proc/self/cgroup", text, sizeof text);
        if (n < 0)
                return (int) n;
        char *own = find_own(text, version == 2 ? NULL : controller);
        if (own == NULL)
                return -ENODEV;
        cleanup_fd int base = version == 2 ? find_subtree(top, own, ret_detail) : open_below(top, own);
        if (version != 2 && (base == -ENOENT || base == -EXDEV)) /* a container's: what is mounted begins with its own */
                base = open_below(top, "/");
        if (base < 0)
                return base;
        cleanup_fd int ours = open_or_make(base, "sbx", ret_detail);
        return ours < 0 ? ours : make_named(ours, name, ret, ret_detail);
}

/* ---- Version 2: controllers act below a cgroup only where it says so ---- */

int write_text(int dir, const char *path, const char *text) {
        cleanup_fd int fd = openat(dir, path, O_WRONLY | O_CLOEXEC | O_NOFOLLOW);
        if (fd < 0)
                return -errno;
        return write(fd, text, strlen(text)) < 0 ? -errno : 0;
}

static int holds_word(int directory, const char *file, const char *word) {
        char text[16384] = "";
        ssize_t n = read_text(directory, file, text, sizeof text);
        for (ssize_t i = 0; i < n; i++)
                if (text[i] == ' ' || text[i] == '\n')
                        text[i] = ',';
        return n > 0 && is_listed(text, word);
}

/* Only this process: others belong to whoever started them. */
static int leave(int directory) {
        char pid[24];
        uint32_t detail;
        append_number(pid, (uint64_t) getpid());
        if (!holds_word(directory, "cgroup.procs", pid))
                return -EBUSY;
        cleanup_fd int leaf = open_or_make(directory, "supervisor", &detail);
        return leaf < 0 ? leaf : write_text(leaf, "cgroup.procs", "0");
}

static int enable_below(int directory, const char *controller, uint32_t *ret_detail) {
        char word[32] = "+";
        if (holds_word(directory, "cgroup.subtree_control", controller))
                return 0;
        if (strlen(controller) > 16 || !holds_word(directory, "cgroup.controllers", controller)) {
                *ret_detail = DETAIL_NO_CONTROLLER;
                return -ENOENT;
        }
        append(word + 1, controller);
        int r = write_text(directory, "cgroup.subtree_control", word);
        if (r == -EBUSY && leave(directory) >= 0)
                r = write_text(directory, "cgroup.subtree_control", word);
        if (r < 0)
                *ret_detail = r == -EBUSY || r == -EOPNOTSUPP ? DETAIL_CGROUP_BUSY : detail_of(r);
        return r;
}

int cgroup_enable(int directory, const char *controller, uint32_t *ret_detail) {
        cleanup_fd int ours = openat(directory, "..", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        cleanup_fd int base = ours < 0 ? -1 : openat(ours, "..", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        if (base < 0)
                return -errno;
        int r = enable_below(base, controller, ret_detail);
        return r < 0 ? r : enable_below(ours, controller, ret_detail);
}
