/* What a payload tries: the tests run it inside a sandbox, and as a positive control outside.
 *
 *   probe VERB ARGUMENT... [+ VERB ARGUMENT...]...
 *
 * Each attempt is made in a process of its own and answers with a line of JSON:
 *   {"verb": ..., "errno": 0 or the error's number, "signal": 0 or what ended it, "value": ...}
 * The verbs of probe_self.c are the process itself: they describe it, wait, or end it. */
#include "probe.h"

#include <arpa/inet.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <linux/capability.h>
#include <net/if.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/shm.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#define ANSWERED 77 /* exit status of an attempt that has said its outcome */

char value[MAX_VALUE];

static void add(const char *text) {
        size_t used = strlen(value);
        snprintf(value + used, sizeof value - used, "%s", text);
}

static void add_number(unsigned long long n) {
        char text[24];
        snprintf(text, sizeof text, "%llu", n);
        add(text);
}

unsigned long number(const char *text) {
        return strtoul(text, NULL, 0);
}

/* ---- JSON ---- */

void put_string(const char *text, size_t n) {
        putchar('"');
        for (size_t i = 0; i < n; i++) {
                unsigned char c = (unsigned char) text[i];
                if (c == '"' || c == '\\')
                        printf("\\%c", c);
                else if (c < 0x20 || c >= 0x7f)
                        printf("\\u%04x", c); /* bytes, as Latin-1 */
                else
                        putchar(c);
        }
        putchar('"');
}

void put_member(const char *name, const char *text) {
        printf("\"%s\": ", name);
        put_string(text, strlen(text));
}

static void answer(const char *verb, int error, int sig) {
        printf("{");
        put_member("verb", verb);
        printf(", \"errno\": %d, \"signal\": %d, ", error, sig);
        put_member("value", value);
        printf("}\n");
        fflush(stdout);
}

/* ---- Files ---- */

long slurp(const char *path) {
        int fd = open(path, O_RDONLY | O_CLOEXEC);
        size_t used = 0;
        ssize_t n = -1;
        while (fd >= 0 && used < sizeof value - 1 && (n = read(fd, value + used, sizeof value - 1 - used)) > 0)
                used += (size_t) n;
        value[used] = 0;
        if (fd >= 0)
                close(fd);
        return n < 0 ? -1 : (long) used;
}

static long try_read(char **a) {
        return slurp(a[0]);
}

/* A file of words as /proc/PID/cmdline is one, each with a line's end in place of its 0. */
static long try_words(char **a) {
        long n = slurp(a[0]);
        for (long i = 0; i < n; i++)
                value[i] = value[i] == 0 ? '\n' : value[i];
        return n;
}

static long try_readfd(char **a) {
        ssize_t n = read((int) number(a[0]), value, sizeof value - 1);
        value[n < 0 ? 0 : n] = 0;
        return n;
}

static long try_writefd(char **a) { return write((int) number(a[0]), a[1], strlen(a[1])); }

/* The flags by letters: read, write, create, truncate, append, directory, path only, exclusive. */
static long try_open(char **a) {
        int flags = strchr(a[1], 'w') ? (strchr(a[1], 'r') ? O_RDWR : O_WRONLY) : O_RDONLY;
        static const struct { char letter; int flag; } more[] = {
                { 'c', O_CREAT }, { 't', O_TRUNC }, { 'a', O_APPEND }, { 'd', O_DIRECTORY }, { 'p', O_PATH }, { 'x', O_EXCL },
        };
        for (size_t i = 0; i < sizeof more / sizeof *more; i++)
                if (strchr(a[1], more[i].letter))
                        flags |= more[i].flag;
        return open(a[0], flags | O_NOCTTY, 0644);
}

static long try_write(char **a) {
        int fd = open(a[0], O_WRONLY);
        return fd < 0 ? fd : write(fd, a[1], strlen(a[1]));
}

static long try_readlink(char **a) {
        return readlink(a[0], value, sizeof value - 1);
}

static int by_name(const struct dirent **a, const struct dirent **b) {
        return strcmp((*a)->d_name, (*b)->d_name);
}

static long try_list(char **a) {
        struct dirent **names;
        int n = scandir(a[0], &names, NULL, by_name);
        for (int i = 0; i < n; i++)
                if (strcmp(names[i]->d_name, ".") != 0 && strcmp(names[i]->d_name, "..") != 0) {
                        add(*value ? "\n" : "");
                        add(names[i]->d_name);
                }
        return n;
}

/* uid gid type-and-mode device-of-a-node size, the third in octal */
static long try_stat(char **a) {
        struct stat st;
        if (lstat(a[0], &st) < 0)
                return -1;
        snprintf(value, sizeof value, "%u %u %o %u:%u %lld", st.st_uid, st.st_gid, st.st_mode, major(st.st_rdev),
                 minor(st.st_rdev), (long long) st.st_size);
        return 0;
}

static long try_mkdir(char **a) { return mkdir(a[0], 0755); }
static long try_rmdir(char **a) { return rmdir(a[0]); }
static long try_unlink(char **a) { return unlink(a[0]); }
static long try_rename(char **a) { return rename(a[0], a[1]); }
static long try_link(char **a) { return link(a[0], a[1]); }
static long try_symlink(char **a) { return symlink(a[0], a[1]); }
static long try_truncate(char **a) { return truncate(a[0], (off_t) number(a[1])); }
static long try_chmod(char **a) { return chmod(a[0], (mode_t) strtoul(a[1], NULL, 8)); }
static long try_chown(char **a) { return chown(a[0], (uid_t) number(a[1]), (gid_t) number(a[2])); }
static long try_mknod(char **a) {
        return mknod(a[0], (mode_t) strtoul(a[1], NULL, 8), makedev((unsigned) number(a[2]), (unsigned) number(a[3])));
}

/* Writes until the file system is full; value: bytes written. */
static long try_fill(char **a) {
        static const char block[4096];
        unsigned long long written = 0;
        int fd = open(a[0], O_WRONLY | O_CREAT | O_TRUNC, 0600);
        ssize_t n = fd;
        while (n >= 0 && written < 256u << 20 && (n = write(fd, block, sizeof block)) > 0)
                written += (size_t) n;
        add_number(written);
        return n < 0 ? n : 0;
}

/* Creates empty files until none more may be made; value: how many. */
static long try_files(char **a) {
        unsigned made = 0;
        int fd = 0;
        for (; fd >= 0 && made < 100000; made += fd >= 0) {
                char path[4096];
                snprintf(path, sizeof path, "%s/f%u", a[0], made);
                fd = open(path, O_WRONLY | O_CREAT | O_EXCL, 0600);
                if (fd >= 0)
                        close(fd);
        }
        add_number(made);
        return fd;
}

static long try_exec(char **a) {
        extern char **environ;
        return execve(a[0], a, environ);
}

/* Starts a copy of this program that lies in no directory: memfd_create(2) with these flags, its mode then asked for. */
static long try_memfd(char **a) {
        extern char **environ;
        static char bytes[1 << 16];
        char *words[] = { "probe", "exit", "0", NULL };
        int from = open("/proc/self/exe", O_RDONLY | O_CLOEXEC);
        long fd = from < 0 ? -1 : syscall(SYS_memfd_create, "copy", (unsigned) number(a[0]) | MFD_CLOEXEC);
        ssize_t n = 1;
        while (fd >= 0 && (n = read(from, bytes, sizeof bytes)) > 0)
                if (write((int) fd, bytes, (size_t) n) != n)
                        return -1;
        if (fd < 0 || n < 0)
                return -1;
        fchmod((int) fd, 0755);
        return syscall(SYS_execveat, (int) fd, "", words, environ, AT_EMPTY_PATH);
}

/* Maps a file as code without executing it. */
static long try_map(char **a) {
        int fd = open(a[0], O_RDONLY);
        return fd < 0 ? fd : mmap(NULL, 4096, PROT_READ | PROT_EXEC, MAP_PRIVATE, fd, 0) == MAP_FAILED ? -1 : 0;
}

/* ---- Mounts and namespaces ---- */

static long try_mount(char **a) { return mount(a[0], a[1], a[2], number(a[3]), NULL); }
static long try_umount(char **a) { return umount2(a[0], MNT_DETACH); }
static long try_chroot(char **a) { return chroot(a[0]); }
static long try_pivot(char **a) { return syscall(SYS_pivot_root, a[0], a[1]); }
static long try_unshare(char **a) { return unshare((int) number(a[0])); }
static long try_setns(char **a) {
        int fd = open(a[0], O_RDONLY);
        return fd < 0 ? fd : setns(fd, 0);
}
static long try_sethostname(char **a) { return sethostname(a[0], strlen(a[0])); }
static long try_shm(char **a) { return shmget((key_t) number(a[0]), 0, 0); }

/* ---- Privileges ---- */

static long try_setuid(char **a) { return syscall(SYS_setuid, number(a[0])); }
static long try_setgid(char **a) { return syscall(SYS_setgid, number(a[0])); }
static long try_setgroups(char **a) {
        gid_t group = (gid_t) number(a[0]);
        return syscall(SYS_setgroups, 1, &group);
}
static long try_setrlimit(char **a) {
        struct rlimit limit = { number(a[1]), number(a[2]) };
        return setrlimit((int) number(a[0]), &limit);
}
static long try_capset(char **a) {
        struct __user_cap_header_struct head = { .version = _LINUX_CAPABILITY_VERSION_3 };
        struct __user_cap_data_struct data[2] = { { 0 } };
        unsigned cap = (unsigned) number(a[0]);
        data[cap / 32].effective = data[cap / 32].permitted = 1u << cap % 32;
        return syscall(SYS_capset, &head, data);
}
static long try_ambient(char **a) { return prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, number(a[0]), 0, 0); }
static long try_securebits(char **a) { return prctl(PR_SET_SECUREBITS, number(a[0]), 0, 0, 0); }

/* ---- Other processes, sockets, terminals ---- */

static long try_kill(char **a) { return kill((pid_t) strtol(a[0], NULL, 0), (int) number(a[1])); }
static long try_ptrace(char **a) { return ptrace(PTRACE_SEIZE, (pid_t) number(a[0]), NULL, NULL); }
static long try_ioctl(char **a) { return ioctl((int) number(a[0]), number(a[1]), "x"); }

static long try_ioctlof(char **a) {
        char answered[256];
        int fd = open(a[0], O_RDONLY | O_NOCTTY);
        return fd < 0 ? fd : ioctl(fd, number(a[1]), answered);
}

static struct sockaddr_in internet(const char *address, const char *port) {
        struct sockaddr_in to = { .sin_family = AF_INET, .sin_port = htons((uint16_t) number(port)) };
        inet_pton(AF_INET, address, &to.sin_addr);
        return to;
}

static long try_tcp(char **a) {
        struct sockaddr_in to = internet(a[0], a[1]);
        return connect(socket(AF_INET, SOCK_STREAM, 0), (struct sockaddr *) &to, sizeof to);
}

static long try_bind(char **a) {
        struct sockaddr_in at = internet(a[0], a[1]);
        return bind(socket(AF_INET, SOCK_STREAM, 0), (struct sockaddr *) &at, sizeof at);
}

/* A connection to itself over 127.0.0.1. */
static long try_loopback(char **a) {
        struct sockaddr_in at = internet("127.0.0.1", "0");
        socklen_t size = sizeof at;
        int server = socket(AF_INET, SOCK_STREAM, 0);
        (void) a;
        if (bind(server, (struct sockaddr *) &at, size) < 0 || listen(server, 1) < 0 ||
            getsockname(server, (struct sockaddr *) &at, &size) < 0)
                return -1;
        return connect(socket(AF_INET, SOCK_STREAM, 0), (struct sockaddr *) &at, size);
}

static long try_interfaces(char **a) {
        struct if_nameindex *all = if_nameindex();
        (void) a;
        for (struct if_nameindex *i = all; i != NULL && i->if_index != 0; i++) {
                add(*value ? " " : "");
                add(i->if_name);
        }
        return all == NULL ? -1 : 0;
}

/* A stream socket of the file system, or with an @ before its name an abstract one. */
static long try_unix(char **a) {
        struct sockaddr_un to = { .sun_family = AF_UNIX };
        size_t n = strlen(a[0]);
        memcpy(to.sun_path, a[0], n);
        if (to.sun_path[0] == '@')
                to.sun_path[0] = 0;
        return connect(socket(AF_UNIX, SOCK_STREAM, 0), (struct sockaddr *) &to, (socklen_t) (offsetof(struct sockaddr_un, sun_path) + n));
}

static void *thread_status(void *line) {
        char text[4096];
        int fd = open("/proc/thread-self/status", O_RDONLY);
        ssize_t n = read(fd, text, sizeof text - 1);
        text[n < 0 ? 0 : n] = 0;
        const char *at = strstr(text, "NoNewPrivs:"), *filter = strstr(text, "Seccomp:");
        snprintf(line, 64, "%c%c", at ? at[12] : '?', filter ? filter[9] : '?');
        return NULL;
}

/* For each of four threads NoNewPrivs and the seccomp mode. */
static long try_threads(char **a) {
        pthread_t threads[4];
        static char lines[4][64];
        (void) a;
        for (int i = 0; i < 4; i++)
                if ((errno = pthread_create(&threads[i], NULL, thread_status, lines[i])) != 0)
                        return -1;
        for (int i = 0; i < 4; i++) {
                pthread_join(threads[i], NULL);
                add(i ? " " : "");
                add(lines[i]);
        }
        return 0;
}

/* Leaves a process to init and looks for it once it has ended; value: "reaped", or what is still there. */
static long try_orphan(char **a) {
        int pipes[2];
        pid_t orphan;
        char path[64], state[512];
        (void) a;
        if (pipe(pipes) < 0)
                return -1;
        pid_t child = fork();
        if (child == 0) {
                orphan = fork();
                if (orphan == 0) {
                        usleep(20000);
                        _exit(3);
                }
                _exit(write(pipes[1], &orphan, sizeof orphan) != sizeof orphan);
        }
        waitpid(child, NULL, 0);
        if (read(pipes[0], &orphan, sizeof orphan) != sizeof orphan)
                return -1;
        snprintf(path, sizeof path, "/proc/%d/stat", orphan);
        snprintf(value, sizeof value, "reaped");
        for (int i = 0; i < 60 && access(path, F_OK) == 0; i++)
                usleep(10000);
        int fd = open(path, O_RDONLY);
        ssize_t n = fd < 0 ? 0 : read(fd, state, sizeof state - 1);
        if (n > 0) {
                state[n] = 0;
                snprintf(value, sizeof value, "%s", state);
        }
        return 0;
}

#define VERB(name, arguments) { #name, try_##name, arguments }
static const struct verb {
        const char *name;
        long (*attempt)(char **arguments);
        int arguments;
} verbs[] = {
        VERB(read, 1), VERB(words, 1), VERB(readfd, 1), VERB(writefd, 2), VERB(open, 2), VERB(write, 2), VERB(readlink, 1), VERB(list, 1), VERB(stat, 1), VERB(mkdir, 1),
        VERB(rmdir, 1), VERB(unlink, 1), VERB(rename, 2), VERB(link, 2), VERB(symlink, 2), VERB(truncate, 2),
        VERB(chmod, 2), VERB(chown, 3), VERB(mknod, 4), VERB(fill, 1), VERB(files, 1), VERB(exec, 1), VERB(memfd, 1), VERB(map, 1),
        VERB(mount, 4), VERB(umount, 1), VERB(chroot, 1), VERB(pivot, 2), VERB(unshare, 1), VERB(setns, 1),
        VERB(sethostname, 1), VERB(shm, 1), VERB(setuid, 1), VERB(setgid, 1), VERB(setgroups, 1), VERB(setrlimit, 3),
        VERB(capset, 1), VERB(ambient, 1), VERB(securebits, 1), VERB(kill, 2), VERB(ptrace, 1),
        VERB(ioctl, 2), VERB(ioctlof, 2), VERB(tcp, 2), VERB(bind, 2), VERB(loopback, 0),
        VERB(interfaces, 0), VERB(unix, 1), VERB(threads, 0), VERB(orphan, 0),
};

static void attempt(char **words, int count) {
        const struct verb *verb = NULL;
        int status;
        for (size_t i = 0; i < sizeof verbs / sizeof *verbs; i++)
                if (count > 0 && strcmp(words[0], verbs[i].name) == 0)
                        verb = &verbs[i];
        if (verb == NULL || count - 1 < verb->arguments) {
                fprintf(stderr, "probe: what is '%s'?\n", count > 0 ? words[0] : "");
                exit(99);
        }
        *value = 0;
        pid_t pid = fork();
        if (pid == 0) {
                errno = 0;
                long result = verb->attempt(words + 1);
                answer(verb->name, result < 0 ? errno : 0, 0);
                _exit(ANSWERED);
        }
        if (pid < 0 || waitpid(pid, &status, 0) < 0) {
                answer(verb->name, errno, 0);
        } else if (WIFSIGNALED(status)) {
                answer(verb->name, 0, WTERMSIG(status));
        } else if (WEXITSTATUS(status) != ANSWERED) { /* of the program that was executed */
                add_number((unsigned) WEXITSTATUS(status));
                answer(verb->name, 0, 0);
        }
}

/* Waits for a line on standard input, then goes on as the attempts behind it. */
static void await_line(void) {
        char c = 0;
        printf("ready\n");
        fflush(stdout);
        while (read(0, &c, 1) == 1 && c != '\n')
                ;
}

int main(int argc, char **argv) {
        int status = run_alone(argc - 1, argv + 1), first = 1;
        if (status >= 0)
                return status;
        if (argc > 1 && strcmp(argv[1], "line") == 0) {
                await_line();
                first = 2;
        }
        for (int at = first; at < argc; first = at + 1) {
                for (at = first; at < argc && strcmp(argv[at], "+") != 0; at++)
                        ;
                if (at < argc)
                        argv[at] = NULL;
                attempt(argv + first, at - first);
        }
        return 0;
}
