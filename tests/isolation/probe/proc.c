/* /proc: the machine's settings, the kernel's tables, other processes. */
#include "probe.h"

#include <ctype.h>
#include <dirent.h>
#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

/* Opening is enough: what is then written would change the machine. */
static long open_to_write(char **a) {
        return open(a[0], O_WRONLY | O_CLOEXEC | O_NOCTTY);
}

static long open_to_read(char **a) {
        return open(a[0], O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
}

static long read_something(char **a) {
        char text[256];
        long n = slurp(a[0], text, sizeof text);
        if (n > 0)
                say("%.40s", text);
        return n == 0 ? nothing() : n;
}

/* CVE-2019-5736: the program behind a link of /proc, as something that can be opened to be overwritten. */
static long behind(char **a) {
        struct stat st;
        int fd = open(a[0], O_PATH | O_CLOEXEC);
        if (fd < 0 || fstat(fd, &st) < 0)
                return -1;
        say("%lu:%lu", (unsigned long) st.st_dev, (unsigned long) st.st_ino);
        return 0;
}

/* A new instance of /proc shows nothing covered or read-only. */
static long fresh_proc(char **a) {
        if (unshare(CLONE_NEWUSER | CLONE_NEWNS | CLONE_NEWPID) < 0)
                return -1;
        int status;
        pid_t pid = fork();
        if (pid == 0)
                _exit(mount("proc", a[0], "proc", 0, NULL) < 0 ? errno : 0);
        if (pid < 0 || waitpid(pid, &status, 0) < 0)
                return -1;
        return WEXITSTATUS(status) ? failed(WEXITSTATUS(status)) : 0;
}

static int is_mine(const char *name) {
        long pid = strtol(name, NULL, 10);
        return pid == 1 || pid == getpid() || pid == getppid();
}

/* Processes besides the sandbox's first one and the probe's two. */
static long foreign_processes(char **a) {
        DIR *directory = opendir("/proc");
        int found = 0;
        (void) a;
        if (directory == NULL)
                return -1;
        for (struct dirent *entry; (entry = readdir(directory)) != NULL;)
                if (isdigit((unsigned char) entry->d_name[0]) && !is_mine(entry->d_name))
                        if (++found <= 5)
                                say("%s ", entry->d_name);
        return found ? 0 : failed(ESRCH);
}

const struct verb proc_verbs[] = {
        { "open-to-write", open_to_write, 1 }, { "open-to-read", open_to_read, 1 },
        { "read", read_something, 1 },         { "behind", behind, 1 },
        { "fresh-proc", fresh_proc, 1 },       { "foreign-processes", foreign_processes, 0 },
        END_OF_VERBS,
};
