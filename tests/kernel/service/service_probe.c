/* A service for tests: does one thing after another, as its arguments say. */
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static void fail(const char *what) {
        fprintf(stderr, "service: %s: %s\n", what, strerror(errno));
        exit(99);
}

/* To NOTIFY_SOCKET, with a descriptor if there is one. */
static void say(const char *text, int fd) {
        struct sockaddr_un address = { .sun_family = AF_UNIX };
        union {
                struct cmsghdr head;
                char bytes[CMSG_SPACE(sizeof(int))];
        } control = { 0 };
        struct iovec data = { (void *) text, strlen(text) };
        struct msghdr message = { .msg_name = &address, .msg_namelen = sizeof address, .msg_iov = &data, .msg_iovlen = 1 };
        const char *path = getenv("NOTIFY_SOCKET");
        int socket_fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
        if (path == NULL || socket_fd < 0)
                fail("NOTIFY_SOCKET");
        strncpy(address.sun_path, path, sizeof address.sun_path - 1);
        if (fd >= 0) {
                message.msg_control = &control;
                message.msg_controllen = sizeof control;
                control.head.cmsg_level = SOL_SOCKET;
                control.head.cmsg_type = SCM_RIGHTS;
                control.head.cmsg_len = CMSG_LEN(sizeof(int));
                memcpy(CMSG_DATA(&control.head), &fd, sizeof fd);
        }
        if (sendmsg(socket_fd, &message, MSG_NOSIGNAL) < 0)
                fail("sendmsg");
        close(socket_fd);
}

static void store(const char *name) {
        char text[512];
        int fd = memfd_create("stored", 0);
        if (write(fd, "kept", 4) != 4)
                fail("memfd");
        snprintf(text, sizeof text, "FDSTORE=1\nFDNAME=%s", name);
        say(text, fd);
        close(fd);
}

/* So many descriptors in one message. */
static void store_many(long count) {
        struct sockaddr_un address = { .sun_family = AF_UNIX };
        union {
                struct cmsghdr head;
                char bytes[CMSG_SPACE(253 * sizeof(int))];
        } control = { 0 };
        struct iovec data = { "FDSTORE=1\nFDNAME=many", strlen("FDSTORE=1\nFDNAME=many") };
        struct msghdr message = { .msg_name = &address, .msg_namelen = sizeof address, .msg_iov = &data, .msg_iovlen = 1, .msg_control = &control };
        int fds[253], socket_fd = socket(AF_UNIX, SOCK_DGRAM, 0);
        strncpy(address.sun_path, getenv("NOTIFY_SOCKET"), sizeof address.sun_path - 1);
        for (long i = 0; i < count; i++)
                fds[i] = memfd_create("stored", 0);
        message.msg_controllen = CMSG_SPACE((size_t) count * sizeof(int));
        control.head.cmsg_level = SOL_SOCKET;
        control.head.cmsg_type = SCM_RIGHTS;
        control.head.cmsg_len = CMSG_LEN((size_t) count * sizeof(int));
        memcpy(CMSG_DATA(&control.head), fds, (size_t) count * sizeof(int));
        if (sendmsg(socket_fd, &message, MSG_NOSIGNAL) < 0)
                fail("sendmsg of many");
}

/* A connection whose last close waits, as nobody reads what it has still to send; in a message. */
static void linger(const char *text) {
        struct sockaddr_in address = { .sin_family = AF_INET, .sin_addr = { htonl(INADDR_LOOPBACK) } };
        struct linger wait = { .l_onoff = 1, .l_linger = 300 };
        socklen_t size = sizeof address;
        char block[65536] = { 0 };
        int listener = socket(AF_INET, SOCK_STREAM, 0), fd = socket(AF_INET, SOCK_STREAM, 0);
        if (bind(listener, (struct sockaddr *) &address, sizeof address) < 0 || listen(listener, 1) < 0 ||
            getsockname(listener, (struct sockaddr *) &address, &size) < 0 || connect(fd, (struct sockaddr *) &address, sizeof address) < 0 ||
            setsockopt(fd, SOL_SOCKET, SO_LINGER, &wait, sizeof wait) < 0)
                fail("a lingering connection");
        while (send(fd, block, sizeof block, MSG_DONTWAIT) > 0)
                ;
        say(text, fd);
        pid_t holder = fork(); /* what is closed by a process's end waits for nothing */
        if (holder == 0)
                for (;;)
                        pause();
        close(fd); /* the listener stays, with the other end in its queue */
        kill(holder, SIGKILL);
        waitpid(holder, NULL, 0);
}

static void barrier(void) {
        int ends[2];
        if (pipe(ends) < 0)
                fail("pipe");
        say("BARRIER=1", ends[1]);
        close(ends[1]);
        struct pollfd wait = { .fd = ends[0] };
        printf("barrier %s\n", poll(&wait, 1, 10000) == 1 ? "passed" : "hangs");
}

/* An argument with %d in it has the number of the message there. */
static void flood(long count, const char *text) {
        char message[512];
        for (long i = 0; i < count; i++) {
                snprintf(message, sizeof message, text, i);
                say(message, -1);
        }
}

static void in_child(const char *text) {
        pid_t pid = fork();
        if (pid == 0) {
                say(text, -1);
                _exit(0);
        }
        waitpid(pid, NULL, 0);
}

static void without_newline(long mib) {
        static char block[1 << 20];
        memset(block, 'x', sizeof block);
        for (; mib > 0; mib--)
                for (size_t done = 0; done < sizeof block;) {
                        ssize_t n = write(1, block + done, sizeof block - done);
                        if (n < 0)
                                fail("write");
                        done += (size_t) n;
                }
}

static void show(const char *path) {
        char text[65536];
        struct stat st;
        int fd = open(path, O_RDONLY);
        ssize_t n = fd < 0 ? -1 : read(fd, text, sizeof text);
        if (n < 0 || fstat(fd, &st) < 0)
                fail(path);
        printf("%o %u %u ", st.st_mode & 07777, st.st_uid, st.st_gid);
        fwrite(text, 1, (size_t) n, stdout);
        putchar('\n');
}

static void serve(int fd) {
        int from = accept(fd, NULL, NULL);
        if (from < 0 || write(from, "served\n", 7) != 7)
                fail("accept");
        close(from);
}

static void pause_for(long ms) {
        struct timespec time = { ms / 1000, ms % 1000 * 1000000 };
        nanosleep(&time, NULL);
}

static void await_signal(const sigset_t *set) {
        siginfo_t info;
        if (sigwaitinfo(set, &info) < 0)
                fail("sigwaitinfo");
        printf("signal %d\n", info.si_signo);
}

int main(int argc, char **argv) {
        sigset_t set;
        sigemptyset(&set);
        sigaddset(&set, SIGTERM);
        sigaddset(&set, SIGINT);
        sigaddset(&set, SIGHUP);
        sigaddset(&set, SIGUSR1);
        sigaddset(&set, SIGUSR2);
        sigprocmask(SIG_BLOCK, &set, NULL);
        setvbuf(stdout, NULL, _IOLBF, 0);
        for (int i = 1; i < argc; i++) {
                const char *verb = argv[i], *next = i + 1 < argc ? argv[i + 1] : "";
                if (strcmp(verb, "barrier") == 0)
                        barrier();
                else if (strcmp(verb, "await") == 0)
                        await_signal(&set);
                else if (strcmp(verb, "pid") == 0)
                        printf("pid %d\n", getpid());
                else if (i++, strcmp(verb, "say") == 0)
                        say(next, -1);
                else if (strcmp(verb, "child-say") == 0)
                        in_child(next);
                else if (strcmp(verb, "store") == 0)
                        store(next);
                else if (strcmp(verb, "storemany") == 0)
                        store_many(atol(next));
                else if (strcmp(verb, "linger") == 0)
                        linger(next);
                else if (strcmp(verb, "flood") == 0)
                        flood(atol(next), argv[++i]);
                else if (strcmp(verb, "sleep") == 0)
                        pause_for(atol(next));
                else if (strcmp(verb, "variable") == 0)
                        printf("%s=%s\n", next, getenv(next) ? getenv(next) : "(unset)");
                else if (strcmp(verb, "mib") == 0)
                        without_newline(atol(next));
                else if (strcmp(verb, "out") == 0)
                        printf("%s\n", next);
                else if (strcmp(verb, "err") == 0)
                        fprintf(stderr, "%s\n", next);
                else if (strcmp(verb, "show") == 0)
                        show(next);
                else if (strcmp(verb, "serve") == 0)
                        serve(atoi(next));
                else if (strcmp(verb, "exit") == 0)
                        return atoi(next);
                else
                        fail(verb);
        }
        return 0;
}
