/* Ways out by what a process inherits: descriptors, the working directory, variables. */
#include "probe.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define LAST 1024

/* Whether anything is open beyond the standard streams. */
static long inherited(char **a) {
        int found = 0;
        (void) a;
        for (int fd = 3; fd <= LAST; fd++)
                if (fcntl(fd, F_GETFD) >= 0)
                        found++, say("%s%d", found > 1 ? " " : "", fd);
        return found ? 0 : failed(EBADF);
}

/* CVE-2024-21626: a directory that was left open leads to a file of the host's, however the root was changed. */
static long through_a_directory(char **a) {
        for (int fd = 0; fd <= LAST; fd++) {
                int found = openat(fd, a[0], O_RDONLY);
                if (found >= 0) {
                        say("through descriptor %d", fd);
                        return 0;
                }
        }
        return failed(EBADF);
}

/* The working directory lies outside the root: getcwd(2) says so, and names lead on from there. */
static long working_directory(char **a) {
        char path[4096];
        if (getcwd(path, sizeof path) == NULL)
                return -1;
        say("%s", path);
        if (strncmp(path, "(unreachable)", 13) == 0)
                return 0;
        return openat(AT_FDCWD, a[0], O_RDONLY) >= 0 ? 0 : -1;
}

/* A standard stream that is a directory. */
static long directory_stream(char **a) {
        (void) a;
        for (int fd = 0; fd <= 2; fd++) {
                struct stat st;
                if (fstat(fd, &st) == 0 && S_ISDIR(st.st_mode)) {
                        say("descriptor %d", fd);
                        return 0;
                }
        }
        return failed(ENOTDIR);
}

/* A variable of the caller's. */
static long variable(char **a) {
        const char *value = getenv(a[0]);
        if (value == NULL)
                return nothing();
        say("%s", value);
        return 0;
}

const struct verb descriptor_verbs[] = {
        { "inherited-descriptors", inherited, 0 },
        { "through-a-directory", through_a_directory, 1 },
        { "working-directory", working_directory, 1 },
        { "directory-stream", directory_stream, 0 },
        { "variable", variable, 1 },
        END_OF_VERBS,
};
