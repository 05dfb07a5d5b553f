/* A process that ends waits for no socket of its own.  So one is made that holds them too, and closes them last. */
#include "foreign.h"
#include "sys.h"

/* Pipes and files: what they wait for isn't the payload's. */
static int closes_at_once(int fd) {
        struct stat st;
        return fstat(fd, &st) >= 0 && (S_ISFIFO(st.st_mode) || S_ISREG(st.st_mode));
}

/* Until the supervisor has closed its own, or has gone. */
static void hold(const int ends[2]) __attribute__((noreturn));
static void hold(const int ends[2]) {
        char byte;
        close(ends[1]);
        ssize_t n = read(ends[0], &byte, 1);
        (void) n;
        _exit(0);
}

static pid_t start_holder(int ends[2]) {
        if (pipe2(ends, O_CLOEXEC) < 0)
                return -errno;
        pid_t pid = CALL(SYS_clone, 0, 0, 0, 0, 0); /* no signal tells of its end */
        if (pid == 0)
                hold(ends);
        close(ends[0]);
        if (pid < 0)
                close(ends[1]);
        return pid;
}

void close_foreign(const int *fds, uint32_t count) {
        int ends[2] = { -1, -1 };
        uint32_t simple = 0;
        while (simple < count && closes_at_once(fds[simple]))
                simple++;
        pid_t holder = simple < count ? start_holder(ends) : -1;
        for (uint32_t i = 0; i < count; i++)
                close(fds[i]);
        if (holder < 0)
                return;
        close(ends[1]);
        while (waitpid(holder, NULL, __WALL) < 0 && errno == EINTR)
                ;
}
