/* Who the process is: ids, capabilities, securebits, and files that lend an identity. */
#include "probe.h"

#include <fcntl.h>
#include <grp.h>
#include <linux/capability.h>
#include <linux/securebits.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

/* ---- User namespaces ---- */

static long write_file(char **a) {
        int fd = open(a[0], O_WRONLY | O_CLOEXEC);
        return fd < 0 ? -1 : write(fd, a[1], strlen(a[1]));
}

/* A map that makes user 0 inside of user 0 outside. */
static long write_map(char **a) {
        int fd = open(a[0], O_WRONLY | O_CLOEXEC);
        return fd < 0 ? -1 : write(fd, "0 0 1", 5);
}

/* The same of a user namespace that has none yet. */
static long own_map(char **a) {
        char map[64];
        int n = snprintf(map, sizeof map, "0 %u 1", geteuid());
        (void) a;
        if (unshare(CLONE_NEWUSER) < 0)
                return -1;
        int fd = open("/proc/self/uid_map", O_WRONLY | O_CLOEXEC);
        return fd < 0 ? -1 : write(fd, map, (size_t) n);
}

static long drop_groups(char **a) {
        (void) a;
        return syscall(SYS_setgroups, 0, NULL);
}

static long groups_of_the_caller(char **a) {
        gid_t groups[64];
        int n = getgroups(64, groups), found = 0;
        for (int i = 0; i < n; i++)
                if (groups[i] == number(a[0]))
                        found++;
        return n < 0 ? -1 : found ? 0 : nothing();
}

static long by_unshare(char **a) {
        (void) a;
        return unshare(CLONE_NEWUSER);
}

static long ended(long pid) {
        if (pid == 0)
                _exit(0);
        if (pid > 0)
                waitpid((pid_t) pid, NULL, 0);
        return pid;
}

static long by_clone(char **a) {
        (void) a;
        return ended(syscall(SYS_clone, CLONE_NEWUSER | SIGCHLD, NULL, NULL, NULL, NULL));
}

/* The flags lie in memory, where no filter sees them. */
static long by_clone3(char **a) {
        struct { uint64_t flags, pidfd, child, parent, exit_signal, rest[3]; } arguments = { .flags = CLONE_NEWUSER };
        (void) a;
        arguments.exit_signal = SIGCHLD;
        return ended(syscall(SYS_clone3, &arguments, sizeof arguments));
}

/* ---- Capabilities ---- */

static const char *const sets[] = { "CapInh:", "CapPrm:", "CapEff:", "CapBnd:", "CapAmb:" };

static void *look(void *ret_found) {
        char text[4096];
        if (slurp("/proc/thread-self/status", text, sizeof text) < 0)
                return NULL;
        for (size_t i = 0; i < sizeof sets / sizeof *sets; i++) {
                const char *at = strstr(text, sets[i]);
                unsigned long long all = at ? strtoull(at + strlen(sets[i]), NULL, 16) : ~0ull;
                if (all != 0)
                        *(unsigned long long *) ret_found = all;
        }
        return NULL;
}

/* A bit in any of the five sets of any thread, a new one included. */
static long capabilities(char **a) {
        unsigned long long here = 0, there = 0;
        pthread_t thread;
        (void) a;
        look(&here);
        if ((errno = pthread_create(&thread, NULL, look, &there)) != 0)
                return -1;
        pthread_join(thread, NULL);
        say("%llx %llx", here, there);
        return here || there ? 0 : nothing();
}

static long raise_all(char **a) {
        struct __user_cap_header_struct head = { .version = _LINUX_CAPABILITY_VERSION_3 };
        struct __user_cap_data_struct data[2] = { { 0 } };
        unsigned capability = (unsigned) number(a[0]);
        data[capability / 32].effective = data[capability / 32].permitted = 1u << capability % 32;
        return syscall(SYS_capset, &head, data);
}

#define LOCKED (SECBIT_NOROOT_LOCKED | SECBIT_NO_SETUID_FIXUP_LOCKED | SECBIT_NO_CAP_AMBIENT_RAISE_LOCKED)

static long unlocked_securebits(char **a) {
        int bits = prctl(PR_GET_SECUREBITS);
        (void) a;
        if (bits < 0)
                return -1;
        say("%#x", (unsigned) bits);
        return (bits & LOCKED) == LOCKED ? failed(EPERM) : 0;
}

static long set_securebits(char **a) {
        return prctl(PR_SET_SECUREBITS, number(a[0]), 0, 0, 0);
}

static long unset_no_new_privs(char **a) {
        (void) a;
        if (prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0) == 0)
                return 0;
        return prctl(PR_SET_NO_NEW_PRIVS, 0, 0, 0, 0);
}

/* Ends as EPERM if it runs with the ids and capabilities of who started it; what lends-identity executes. */
static long who(char **a) {
        unsigned long long found = 0;
        (void) a;
        look(&found);
        say("%u %u %llx", geteuid(), getegid(), found);
        return geteuid() != getuid() || getegid() != getgid() || found ? 0 : failed(EPERM);
}

/* Executes a file whose mode or attributes lend an identity; it is a copy of this program. */
static long lends_identity(char **a) {
        char text[512] = "";
        int pipes[2];
        if (pipe(pipes) < 0)
                return -1;
        pid_t pid = fork();
        if (pid == 0) {
                dup2(pipes[1], 1);
                execl(a[0], a[0], "who", (char *) NULL);
                dprintf(1, "%s", error_name(errno) ? error_name(errno) : "?");
                _exit(1);
        }
        close(pipes[1]);
        ssize_t n = read(pipes[0], text, sizeof text - 1);
        text[n < 0 ? 0 : n] = 0;
        waitpid(pid, NULL, 0);
        say("%s", text);
        if (strstr(text, "\"succeeded\""))
                return 0;
        return strstr(text, "\"EPERM\"") ? failed(EPERM) : failed(EACCES);
}

/* ---- Files that would lend an identity ---- */

static long has_set_id(const char *path) {
        struct stat st;
        if (stat(path, &st) < 0)
                return -1;
        say("%o", st.st_mode & 07777);
        unlink(path);
        return st.st_mode & (S_ISUID | S_ISGID) ? 0 : nothing();
}

static int plain(const char *path) {
        unlink(path);
        return open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0755);
}


#define SET_ID(name, call)                     \
        static long name(char **a) {           \
                int fd = plain(a[0]);          \
                if (fd < 0)                    \
                        return -1;             \
                if ((call) < 0) {              \
                        int error = errno;     \
                        unlink(a[0]);          \
                        return failed(error);  \
                }                              \
                return has_set_id(a[0]);       \
        }

SET_ID(set_id_by_chmod, chmod(a[0], 04755))
SET_ID(set_id_by_fchmod, syscall(SYS_fchmod, fd, 06755))
SET_ID(set_id_by_fchmodat, syscall(SYS_fchmodat, AT_FDCWD, a[0], 04755))
#ifndef SYS_fchmodat2
#define SYS_fchmodat2 452
#endif
SET_ID(set_id_by_fchmodat2, syscall(SYS_fchmodat2, AT_FDCWD, a[0], 04755, 0))

static long set_id_by_open(char **a) {
        unlink(a[0]);
        return openat(AT_FDCWD, a[0], O_WRONLY | O_CREAT | O_EXCL, 04755) < 0 ? -1 : has_set_id(a[0]);
}

static long set_id_by_openat2(char **a) {
        struct { uint64_t flags, mode, resolve; } how = { O_WRONLY | O_CREAT | O_EXCL, 04755, 0 };
        unlink(a[0]);
        return syscall(SYS_openat2, AT_FDCWD, a[0], &how, sizeof how) < 0 ? -1 : has_set_id(a[0]);
}

static long set_id_by_mknod(char **a) {
        unlink(a[0]);
        return mknod(a[0], S_IFREG | 04755, 0) < 0 ? -1 : has_set_id(a[0]);
}

const struct verb identity_verbs[] = {
        { "write", write_file, 2 },
        { "write-map", write_map, 1 },
        { "own-map", own_map, 0 },
        { "setgroups", drop_groups, 0 },
        { "in-group", groups_of_the_caller, 1 },
        { "user-namespace-by-unshare", by_unshare, 0 },
        { "user-namespace-by-clone", by_clone, 0 },
        { "user-namespace-by-clone3", by_clone3, 0 },
        { "capabilities", capabilities, 0 },
        { "raise-capability", raise_all, 1 },
        { "unlocked-securebits", unlocked_securebits, 0 },
        { "set-securebits", set_securebits, 1 },
        { "unset-no-new-privs", unset_no_new_privs, 0 },
        { "who", who, 0 },
        { "lends-identity", lends_identity, 1 },
        { "set-id-by-chmod", set_id_by_chmod, 1 },
        { "set-id-by-fchmod", set_id_by_fchmod, 1 },
        { "set-id-by-fchmodat", set_id_by_fchmodat, 1 },
        { "set-id-by-fchmodat2", set_id_by_fchmodat2, 1 },
        { "set-id-by-open", set_id_by_open, 1 },
        { "set-id-by-openat2", set_id_by_openat2, 1 },
        { "set-id-by-mknod", set_id_by_mknod, 1 },
        END_OF_VERBS,
};
