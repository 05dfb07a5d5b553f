/* The probe as a process: what it has become inside a sandbox, and how it waits and ends. */
#include "probe.h"

#include <dirent.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

static int by_name(const struct dirent **a, const struct dirent **b) {
        return strcmp((*a)->d_name, (*b)->d_name);
}

static void put_file(const char *name, const char *path) {
        *value = 0;
        slurp(path);
        put_member(name, value);
        printf(", ");
}

static void put_links(const char *name, const char *directory) {
        struct dirent **names;
        char path[4096], target[4096];
        const char *comma = "";
        int n = scandir(directory, &names, NULL, by_name);
        printf("\"%s\": {", name);
        for (int i = 0; i < n; i++) {
                snprintf(path, sizeof path, "%s/%s", directory, names[i]->d_name);
                ssize_t length = readlink(path, target, sizeof target - 1);
                if (length < 0)
                        continue; /* the directories . and .., and the one that was read */
                target[length] = 0;
                printf("%s", comma);
                put_member(names[i]->d_name, target);
                comma = ", ";
        }
        printf("}, ");
}

/* Mount, device, inode, type and links of what a path of /proc leads to. */
static void put_place(const char *comma, int number, const char *path, const char *info) {
        struct stat st;
        *value = 0;
        slurp(info);
        const char *mount = strstr(value, "mnt_id:");
        if (mount == NULL || stat(path, &st) < 0)
                return;
        printf("%s\"%d\": [%ld, %llu, %llu, %u, %llu]", comma, number, strtol(mount + strlen("mnt_id:"), NULL, 10),
               (unsigned long long) st.st_dev, (unsigned long long) st.st_ino, st.st_mode & S_IFMT,
               (unsigned long long) st.st_nlink);
}

/* Of all descriptors; and of the working directory, the root and the program as -1, -2 and -3. */
static void put_places(void) {
        static const char *const links[] = { "/proc/self/cwd", "/proc/self/root", "/proc/self/exe" };
        char path[64], info[64];
        const char *comma = "";
        printf("\"places\": {");
        for (int fd = 0; fd < 1024; fd++) {
                snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
                snprintf(info, sizeof info, "/proc/self/fdinfo/%d", fd);
                if (fcntl(fd, F_GETFD) < 0)
                        continue;
                put_place(comma, fd, path, info);
                comma = ", ";
        }
        for (int i = 0; i < 3; i++) {
                int fd = open(links[i], O_PATH | O_CLOEXEC);
                snprintf(info, sizeof info, "/proc/self/fdinfo/%d", fd);
                if (fd < 0)
                        continue;
                put_place(comma, -1 - i, links[i], info);
                comma = ", ";
                close(fd);
        }
        printf("}, ");
}

static void put_limits(void) {
        printf("\"rlimits\": [");
        for (int i = 0; i < RLIM_NLIMITS; i++) {
                struct rlimit limit = { 0 };
                getrlimit((__rlimit_resource_t) i, &limit);
                printf("%s[%llu, %llu]", i ? ", " : "", (unsigned long long) limit.rlim_cur, (unsigned long long) limit.rlim_max);
        }
        printf("], ");
}

static void put_environment(void) {
        extern char **environ;
        printf("\"environment\": [");
        for (char **e = environ; *e != NULL; e++) {
                printf(e == environ ? "" : ", ");
                put_string(*e, strlen(*e));
        }
        printf("], ");
}

/* All that a sandbox is made of, as the payload sees it. */
static int alone_dump(char **a) {
        char name[256] = "";
        (void) a;
        printf("{");
        put_file("status", "/proc/self/status");
        put_file("mountinfo", "/proc/self/mountinfo");
        put_file("uid_map", "/proc/self/uid_map");
        put_file("setgroups", "/proc/self/setgroups");
        put_file("gid_map", "/proc/self/gid_map");
        put_file("cgroup", "/proc/self/cgroup");
        put_file("oom", "/proc/self/oom_score_adj");
        put_links("descriptors", "/proc/self/fd");
        put_links("namespaces", "/proc/self/ns");
        put_places();
        put_limits();
        put_environment();
        gethostname(name, sizeof name - 1);
        put_member("hostname", name);
        printf(", ");
        *value = 0;
        if (getcwd(value, sizeof value) == NULL)
                *value = 0;
        put_member("cwd", value);
        int signal_of_death = 0;
        prctl(PR_GET_PDEATHSIG, &signal_of_death);
        printf(", \"securebits\": %d, \"dumpable\": %d, \"death_signal\": %d, \"pid\": %d, \"parent\": %d, \"group\": %d, "
               "\"session\": %d, \"uid\": %d, \"gid\": %d, \"umask\": %d}\n",
               prctl(PR_GET_SECUREBITS), prctl(PR_GET_DUMPABLE), signal_of_death, getpid(), getppid(), getpgrp(), getsid(0),
               getuid(), getgid(), (int) umask(0));
        return 0;
}

static int alone_exit(char **a) { return (int) number(a[0]); }

static int alone_die(char **a) {
        int sig = (int) number(a[0]);
        signal(sig, SIG_DFL);
        kill(getpid(), sig);
        pause();
        return 1;
}

static int alone_wait(char **a) {
        (void) a;
        printf("ready\n");
        fflush(stdout);
        while (pause() < 0)
                ;
        return 0;
}

/* Says which signals come, by number, until SIGTERM. */
static int alone_signals(char **a) {
        sigset_t all;
        int sig = 0;
        (void) a;
        sigfillset(&all);
        sigprocmask(SIG_SETMASK, &all, NULL);
        printf("ready\n");
        fflush(stdout);
        while (sig != SIGTERM && sigwait(&all, &sig) == 0) {
                printf("%d\n", sig);
                fflush(stdout);
        }
        return 0;
}

static void say_so_and_stay(int fd) {
        if (write(fd, "", 1) == 1)
                for (;;)
                        pause();
        _exit(1);
}

/* Twice n processes in sessions of their own, deaf to every signal that can be ignored; none ends by itself. */
static int alone_brood(char **a) {
        unsigned n = (unsigned) number(a[0]);
        int ends[2];
        char byte;
        if (pipe(ends) < 0)
                return 1;
        for (int sig = 1; sig < 32; sig++)
                signal(sig, SIG_IGN);
        for (unsigned i = 0; i < n; i++)
                if (fork() == 0) {
                        setsid();
                        fork();
                        say_so_and_stay(ends[1]);
                }
        for (unsigned i = 0; i < 2 * n; i++)
                if (read(ends[0], &byte, 1) != 1)
                        return 1;
        return alone_wait(NULL);
}

static const struct {
        const char *name;
        int (*run)(char **arguments);
        int arguments;
} alone[] = {
        { "dump", alone_dump, 0 }, { "exit", alone_exit, 1 },       { "die", alone_die, 1 },
        { "wait", alone_wait, 0 }, { "signals", alone_signals, 0 }, { "brood", alone_brood, 1 },
};

int run_alone(int count, char **words) {
        for (size_t i = 0; i < sizeof alone / sizeof *alone; i++)
                if (count > alone[i].arguments && strcmp(words[0], alone[i].name) == 0)
                        return alone[i].run(words + 1);
        return -1;
}
