/* What a tracer has to get right: does one thing that is told and ends with 0 if it went as without a tracer. */
#include <errno.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

static int check(int held, const char *what) {
        if (!held)
                fprintf(stderr, "not so: %s (%s)\n", what, strerror(errno));
        return held ? 0 : 1;
}

/* As many refused calls. */
static int flood(long count) {
        for (long i = 0; i < count; i++)
                if (syscall(SYS_ptrace, 0, 0, 0, 0) >= 0 || errno != EPERM)
                        return check(0, "ptrace is refused");
        return 0;
}

/* As many names that can't be made. */
static int distinct(const char *directory, long count) {
        char path[4096];
        for (long i = 0; i < count; i++) {
                snprintf(path, sizeof path, "%s/%ld", directory, i);
                if (mkdir(path, 0700) == 0)
                        return check(0, "mkdir is refused");
        }
        return 0;
}

/* A child that asks not to be traced. */
static int untraced(const char *path) {
        int status;
        long pid = syscall(SYS_clone, 0x00800000 | SIGCHLD, 0, 0, 0, 0);
        if (pid == 0) {
                int fd = open(path, O_RDONLY);
                _exit(fd < 0 ? errno : 0);
        }
        if (pid < 0 || waitpid((pid_t) pid, &status, 0) < 0)
                return check(0, "clone works");
        return check(WIFEXITED(status) && WEXITSTATUS(status) == ENOENT, "the child's open fails as any");
}

static void *execute(void *argv) {
        execv(((char **) argv)[0], argv);
        return NULL;
}

/* A thread that isn't the first one becomes another program, while a third one waits in a call. */
static void *wait_in_open(void *path) {
        open(path, O_RDONLY);
        return NULL;
}

static int thread_exec(char **argv) {
        pthread_t waiting, executing;
        mkfifo("/tmp/fifo", 0600);
        pthread_create(&waiting, NULL, wait_in_open, "/tmp/fifo");
        usleep(20000);
        pthread_create(&executing, NULL, execute, argv);
        pthread_join(executing, NULL);
        return check(0, "execve works");
}

/* Stopping and going on are seen by the parent. */
static int stop(void) {
        int status, ends[2];
        if (pipe(ends) < 0)
                return 1;
        pid_t pid = fork();
        if (pid == 0) {
                char c;
                raise(SIGSTOP);
                _exit(read(ends[0], &c, 1) == 1 ? 7 : 8);
        }
        if (check(waitpid(pid, &status, WUNTRACED) == pid && WIFSTOPPED(status) && WSTOPSIG(status) == SIGSTOP, "it stops"))
                return 1;
        kill(pid, SIGCONT);
        if (check(waitpid(pid, &status, WCONTINUED) == pid && WIFCONTINUED(status), "it goes on"))
                return 1;
        if (write(ends[1], "", 1) != 1)
                return 1;
        return check(waitpid(pid, &status, 0) == pid && WIFEXITED(status) && WEXITSTATUS(status) == 7, "it ends");
}

static volatile sig_atomic_t alarms;
static void on_alarm(int sig) {
        (void) sig;
        alarms++;
}

/* A signal in the middle of a call: with and without SA_RESTART. */
static int interrupted(void) {
        struct sigaction action = { .sa_handler = on_alarm };
        int status;
        mkfifo("/tmp/fifo", 0600);
        sigaction(SIGALRM, &action, NULL);
        ualarm(20000, 0);
        if (check(open("/tmp/fifo", O_RDONLY) < 0 && errno == EINTR && alarms == 1, "open is interrupted"))
                return 1;
        action.sa_flags = SA_RESTART;
        sigaction(SIGALRM, &action, NULL);
        pid_t pid = fork();
        if (pid == 0) {
                usleep(60000);
                _exit(open("/tmp/fifo", O_WRONLY) < 0);
        }
        ualarm(20000, 0);
        int fd = open("/tmp/fifo", O_RDONLY);
        waitpid(pid, &status, 0);
        return check(fd >= 0 && alarms == 2 && status == 0, "open is restarted");
}

/* A child that dies in a call. */
static int killed(void) {
        int status;
        mkfifo("/tmp/fifo", 0600);
        pid_t pid = fork();
        if (pid == 0)
                _exit(open("/tmp/fifo", O_RDONLY) < 0);
        usleep(20000);
        kill(pid, SIGKILL);
        return check(waitpid(pid, &status, 0) == pid && WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL, "it is killed");
}

/* Strings that can't be read, or end with a page. */
static int addresses(void) {
        long page = sysconf(_SC_PAGESIZE);
        int r = check(syscall(SYS_openat, AT_FDCWD, 1, O_RDONLY) < 0 && errno == EFAULT, "no address");
        char *end = aligned_alloc((size_t) page, 2 * (size_t) page);
        memset(end, 'x', (size_t) page);
        memcpy(end + page - 5, "/a/b", 5);
        r |= check(open(end + page - 5, O_RDONLY) < 0 && errno == ENOENT, "a string at the end of a page");
        r |= check(open("", O_RDONLY) < 0 && errno == ENOENT, "an empty path");
        char name[5000];
        memset(name, 'y', sizeof name);
        name[sizeof name - 1] = 0;
        return r | check(open(name, O_RDONLY) < 0 && errno == ENAMETOOLONG, "a long path");
}

/* A call that a profile may refuse, and what became of it. */
static const char *tried(void) {
        return syscall(SYS_keyctl, 0, -3, 0) >= 0 ? "ok" : errno == EPERM ? "EPERM" : errno == ENOSYS ? "ENOSYS" : "?";
}

/* A filter of one's own on top of the sandbox's, for this one call. */
static long own_filter(unsigned answer, unsigned flags) {
        struct sock_filter filter[] = {
                { BPF_LD | BPF_W | BPF_ABS, 0, 0, 0 },
                { BPF_JMP | BPF_JEQ | BPF_K, 0, 1, SYS_keyctl },
                { BPF_RET | BPF_K, 0, 0, answer },
                { BPF_RET | BPF_K, 0, 0, SECCOMP_RET_ALLOW },
        };
        struct sock_fprog program = { 4, filter };
        /* The kernel looks at the low half of the first argument. */
        return syscall(SYS_seccomp, 1ul << 32 | SECCOMP_SET_MODE_FILTER, flags, &program);
}

/* One that asks the tracer, in the words of sbx's own filters. */
static int filter_that_traces(const char *data) {
        if (check(own_filter(SECCOMP_RET_TRACE | (unsigned) strtoul(data, NULL, 0), 0) >= 0, "a filter of one's own"))
                return 1;
        printf("%s\n", tried());
        return 0;
}

static volatile int listener = -1;
static void *let_all_go_on(void *argument) {
        while (listener < 0)
                usleep(1000);
        for (;;) {
                struct seccomp_notif call = { 0 };
                struct seccomp_notif_resp answer = { .flags = SECCOMP_USER_NOTIF_FLAG_CONTINUE };
                if (ioctl(listener, SECCOMP_IOCTL_NOTIF_RECV, &call) < 0)
                        return argument;
                answer.id = call.id;
                ioctl(listener, SECCOMP_IOCTL_NOTIF_SEND, &answer);
        }
}

/* One that asks the payload itself. */
static int filter_that_asks(void) {
        pthread_t thread;
        pthread_create(&thread, NULL, let_all_go_on, NULL);
        long fd = own_filter(SECCOMP_RET_USER_NOTIF, SECCOMP_FILTER_FLAG_NEW_LISTENER);
        if (fd < 0)
                printf("%s ", errno == EBUSY ? "EBUSY" : "?");
        else
                listener = (int) fd;
        printf("%s\n", tried());
        fflush(stdout);
        _exit(0);
}

int main(int argc, char **argv) {
        const char *what = argc > 1 ? argv[1] : "";
        if (strcmp(what, "flood") == 0)
                return flood(atol(argv[2]));
        if (strcmp(what, "distinct") == 0)
                return distinct(argv[2], atol(argv[3]));
        if (strcmp(what, "untraced") == 0)
                return untraced(argv[2]);
        if (strcmp(what, "thread-exec") == 0)
                return thread_exec(argv + 2);
        if (strcmp(what, "stop") == 0)
                return stop();
        if (strcmp(what, "interrupted") == 0)
                return interrupted();
        if (strcmp(what, "killed") == 0)
                return killed();
        if (strcmp(what, "filter-that-traces") == 0)
                return filter_that_traces(argv[2]);
        if (strcmp(what, "filter-that-asks") == 0)
                return filter_that_asks();
        if (strcmp(what, "addresses") == 0)
                return addresses();
        return 99;
}
