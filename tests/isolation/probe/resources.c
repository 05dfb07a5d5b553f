/* Using up the machine: processes, memory, files, descriptors, and the groups that bound them. */
#include "probe.h"

#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define BLOCK (1u << 20)

/* ---- Processes ---- */

/* As many children as wanted, all alive at once; each of them would go on forever. */
static long forks(char **a) {
        unsigned long wanted = number(a[0]), made = 0;
        pid_t group = 0, child;
        int error = 0;
        while (made < wanted) {
                child = fork();
                if (child < 0) {
                        error = errno;
                        break;
                }
                if (child == 0) {
                        setpgid(0, group);
                        for (;;)
                                pause();
                }
                if (made++ == 0)
                        group = child;
                setpgid(child, group);
        }
        say("%lu", made);
        if (group)
                kill(-group, SIGKILL);
        return error ? failed(error) : 0;
}

/* Copies of itself that do the same and never end, in sessions of their own. Says how many it made by itself. */
static long fork_bomb(char **a) {
        unsigned long seconds = number(a[0]);
        int made = 0;
        for (;;) {
                pid_t child = fork();
                if (child == 0) {
                        signal(SIGTERM, SIG_IGN);
                        setsid();
                        alarm(0);
                        continue;
                }
                if (child < 0) {
                        int error = errno;
                        say("%d", made);
                        sleep((unsigned) seconds);
                        return failed(error);
                }
                made++;
        }
}

/* ---- Memory ---- */

/* So many MiB, each page written to. */
static long memory(char **a) {
        size_t size = (size_t) number(a[0]) * BLOCK;
        char *all = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        if (all == MAP_FAILED)
                return -1;
        for (size_t at = 0; at < size; at += 4096)
                all[at] = 1;
        return 0;
}

static long write_blocks(int fd, unsigned long count) {
        static char block[BLOCK];
        unsigned long done = 0;
        signal(SIGXFSZ, SIG_IGN);
        for (size_t used = 0; done < count; used = 0, done++)
                while (used < sizeof block) {
                        ssize_t n = write(fd, block + used, sizeof block - used);
                        if (n <= 0) {
                                int error = n < 0 ? errno : EIO;
                                say("%lu MiB", done);
                                return failed(error);
                        }
                        used += (size_t) n;
                }
        return 0;
}

/* A file without a name, of so many MiB. */
static long memory_file(char **a) {
        int fd = memfd_create("sbx-probe", MFD_CLOEXEC);
        return fd < 0 ? fd : write_blocks(fd, number(a[0]));
}

/* A file of so many MiB; it is removed again. */
static long fill(char **a) {
        int fd = open(a[0], O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
        if (fd < 0)
                return -1;
        long result = write_blocks(fd, number(a[1]));
        int error = errno;
        unlink(a[0]);
        errno = error;
        return result;
}

/* So many empty files in a directory; they are removed again. */
static long files(char **a) {
        unsigned long wanted = number(a[1]), made = 0;
        char path[4096];
        int error = 0;
        for (; made < wanted && !error; made += !error) {
                snprintf(path, sizeof path, "%s/%lu", a[0], made);
                int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
                if (fd < 0)
                        error = errno;
                else
                        close(fd);
        }
        say("%lu", made);
        while (made-- > 0) {
                snprintf(path, sizeof path, "%s/%lu", a[0], made);
                unlink(path);
        }
        return error ? failed(error) : 0;
}

/* ---- Limits of a process ---- */

static long descriptors(char **a) {
        unsigned long wanted = number(a[0]);
        for (unsigned long made = 0; made < wanted; made++)
                if (dup(0) < 0) {
                        int error = errno;
                        return failed(error);
                }
        return 0;
}

static long raise_limit(char **a) {
        struct rlimit limit;
        int which = (int) number(a[0]);
        if (getrlimit(which, &limit) < 0)
                return -1;
        if (limit.rlim_max == RLIM_INFINITY)
                return 0; /* there is none */
        limit.rlim_max = RLIM_INFINITY;
        return setrlimit(which, &limit);
}

/* A process that dies of a signal with a core in its working directory; the core is removed again. */
static long core(char **a) {
        struct stat st;
        int status = 0;
        char path[4096];
        if (chdir(a[0]) < 0)
                return -1;
        pid_t child = fork();
        if (child == 0) {
                struct rlimit limit;
                if (getrlimit(RLIMIT_CORE, &limit) == 0) {
                        limit.rlim_cur = limit.rlim_max;
                        setrlimit(RLIMIT_CORE, &limit);
                }
                abort();
        }
        waitpid(child, &status, 0);
        say("core %s", WCOREDUMP(status) ? "dumped" : "not dumped");
        snprintf(path, sizeof path, "core.%d", child);
        if (WCOREDUMP(status) && (stat("core", &st) == 0 || stat(path, &st) == 0)) {
                unlink("core");
                unlink(path);
        }
        return WCOREDUMP(status) ? 0 : nothing();
}

/* ---- Control groups ---- */

/* Mounts the hierarchy of a controller, or "2" for version 2, for itself alone if it may. */
static long mount_groups(char **a) {
        if (unshare(CLONE_NEWNS) == 0)
                mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL);
        if (strcmp(a[0], "2") == 0)
                return mount("cgroup2", a[1], "cgroup2", 0, NULL);
        return mount("cgroup", a[1], "cgroup", 0, a[0]);
}

static long make_directory(char **a) {
        long made = mkdir(a[0], 0755);
        if (made == 0)
                rmdir(a[0]);
        return made;
}

const struct verb resource_verbs[] = {
        { "forks", forks, 1 },         { "fork-bomb", fork_bomb, 1 },     { "memory", memory, 1 },
        { "memory-file", memory_file, 1 }, { "fill", fill, 2 },           { "files", files, 2 },
        { "descriptors", descriptors, 1 }, { "raise-limit", raise_limit, 1 }, { "core", core, 1 },
        { "mount-groups", mount_groups, 2 }, { "make-directory", make_directory, 1 },
        END_OF_VERBS,
};
