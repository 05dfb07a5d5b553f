/* The floor: the namespaces and mounts of sbx's benchmark profile, made in the cheapest way that is known, and nothing
 * else.
 *
 * No filter, no Landlock, no capability work, no init, no rlimits, no checks of paths: what is left is what the kernel
 * asks for the isolation itself.  Static, no stdio.
 *
 *   floor [-p] [-x PROGRAM] [-g CGROUP] [-b SOURCE TARGET]... COMMAND [ARGUMENT]...
 *
 * The root is the mount namespace's own copy of the host's tree.  With -p it is a clone of that copy, entered by
 * pivot_root: the same mounts once more, and what a root of any other kind costs.  With -x there come empty capability
 * sets, an init that reaps, and the system call filter in the file PROGRAM.  With -g a cgroup of its own with limits of
 * memory and pids, below CGROUP of version 2, which the first process is made in.
 */
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <net/if.h>
#include <sched.h>
#include <signal.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

/* From linux/sched.h and linux/mount.h; the numbers are the same on every architecture. */
#define NEWTIME 0x00000080ull
#define NEWNS 0x00020000ull
#define NEWCGROUP 0x02000000ull
#define NEWUTS 0x04000000ull
#define NEWIPC 0x08000000ull
#define NEWUSER 0x10000000ull
#define NEWPID 0x20000000ull
#define NEWNET 0x40000000ull
#define INTO_CGROUP 0x200000000ull
#define CALL_OPEN_TREE 428
#define CALL_MOVE_MOUNT 429
#define CALL_CLONE3 435
#define CALL_MOUNT_SETATTR 442
#define CLONE_TREE 1u
#define FROM_EMPTY_PATH 4u
#define RECURSIVE 0x8000u
#define READ_ONLY 1ull
#define NO_SUID 2ull
#define NO_DEV 4ull
#define NO_EXEC 8ull
#define PRIVATE (1ull << 18)

/* From linux/capability.h, linux/filter.h and linux/seccomp.h */
#define CAPABILITY_VERSION_3 0x20080522u
#define FILTER_MODE 1
struct instruction {
        uint16_t code;
        uint8_t jt, jf;
        uint32_t k;
};

#define MAX_BINDS 512
#define FIRST_ID "100000"

static const char *const devices[] = { "null", "zero", "full", "random", "urandom", "tty" };
static const char *const links[][2] = {
        { "/proc/self/fd", "dev/fd" },
        { "/proc/self/fd/0", "dev/stdin" },
        { "/proc/self/fd/1", "dev/stdout" },
        { "/proc/self/fd/2", "dev/stderr" },
        { "pts/ptmx", "dev/ptmx" },
};
static const char *const covered[] = { "interrupts", "keys", "latency_stats" };
#define COUNT(a) (sizeof(a) / sizeof *(a))

static void fail(const char *what) {
        const char *words = strerror(errno);
        if (write(2, "floor: ", 7) < 0 || write(2, what, strlen(what)) < 0 || write(2, ": ", 2) < 0 ||
            write(2, words, strlen(words)) < 0 || write(2, "\n", 1) < 0)
                _exit(124);
        _exit(125);
}

static long check(long result, const char *what) {
        if (result < 0)
                fail(what);
        return result;
}

static void write_file(const char *path, const char *text) {
        int fd = (int) check(open(path, O_WRONLY | O_CLOEXEC), path);
        check(write(fd, text, strlen(text)), path);
        close(fd);
}

static int clone_tree(const char *path, unsigned recursive, uint64_t attributes) {
        uint64_t change[4] = { attributes, 0, PRIVATE, 0 };
        int fd = (int) check(syscall(CALL_OPEN_TREE, AT_FDCWD, path, CLONE_TREE | O_CLOEXEC | recursive), path);
        check(syscall(CALL_MOUNT_SETATTR, fd, "", AT_EMPTY_PATH | recursive, change, sizeof change), path);
        return fd;
}

static void attach(int tree, const char *target) {
        check(syscall(CALL_MOVE_MOUNT, tree, "", AT_FDCWD, target, FROM_EMPTY_PATH), target);
        close(tree);
}

/* The working directory is the new root. */
static void make_devices(const int *nodes) {
        char target[32] = "dev/";
        check(mount("tmpfs", "dev", "tmpfs", MS_NOSUID | MS_NOEXEC, "mode=0755"), "/dev");
        for (size_t i = 0; i < COUNT(devices); i++) {
                strcpy(target + 4, devices[i]);
                check(mknod(target, S_IFREG | 0444, 0), target);
                attach(nodes[i], target);
        }
        for (size_t i = 0; i < COUNT(links); i++)
                check(symlink(links[i][0], links[i][1]), links[i][1]);
        check(mkdir("dev/pts", 0755), "/dev/pts");
        check(mount("devpts", "dev/pts", "devpts", MS_NOSUID | MS_NOEXEC, "newinstance,ptmxmode=0666,mode=0620"), "/dev/pts");
        check(mkdir("dev/shm", 01777), "/dev/shm");
        check(mount("tmpfs", "dev/shm", "tmpfs", MS_NOSUID | MS_NODEV | MS_NOEXEC, "mode=1777"), "/dev/shm");
}

/* Empty read-only mounts over what a payload has no use for; their source is unlinked and lives on in them. */
static void cover_proc(void) {
        char target[32] = "proc/";
        struct stat st;
        check(mknod("dev/.file", S_IFREG | 0444, 0), "an empty file");
        for (size_t i = 0; i < COUNT(covered); i++) {
                strcpy(target + 5, covered[i]);
                if (lstat(target, &st) < 0)
                        continue;
                attach(clone_tree("dev/.file", 0, READ_ONLY | NO_SUID | NO_DEV | NO_EXEC), target);
        }
        check(unlink("dev/.file"), "the empty file");
}

static void enter_clone(void) {
        int root = clone_tree("/", RECURSIVE, READ_ONLY | NO_SUID | NO_DEV);
        check(syscall(CALL_MOVE_MOUNT, root, "", AT_FDCWD, "/", FROM_EMPTY_PATH), "attach the root");
        check(fchdir(root), "enter the root");
        close(root);
}

static void make_root(const char *const (*binds)[2], size_t count, int pivots) {
        uint64_t restricted[4] = { READ_ONLY | NO_SUID | NO_DEV, 0, PRIVATE, 0 }, sealed[4] = { READ_ONLY, 0, 0, 0 };
        int sources[MAX_BINDS], nodes[COUNT(devices)];
        char device[32] = "/dev/";
        for (size_t i = 0; i < count; i++)
                sources[i] = clone_tree(binds[i][0], RECURSIVE, READ_ONLY | NO_SUID | NO_DEV);
        for (size_t i = 0; i < COUNT(devices); i++) {
                strcpy(device + 5, devices[i]);
                nodes[i] = clone_tree(device, 0, READ_ONLY | NO_SUID | NO_EXEC);
        }
        if (pivots)
                enter_clone();
        else {
                check(chdir("/"), "/");
                check(syscall(CALL_MOUNT_SETATTR, AT_FDCWD, "/", RECURSIVE, restricted, sizeof restricted), "restrict /");
        }
        make_devices(nodes);
        check(mount("proc", "proc", "proc", MS_NOSUID | MS_NODEV | MS_NOEXEC | MS_RDONLY, NULL), "/proc");
        cover_proc();
        check(mount("tmpfs", "tmp", "tmpfs", MS_NOSUID | MS_NODEV | MS_NOEXEC, "mode=1777"), "/tmp");
        check(syscall(CALL_MOUNT_SETATTR, AT_FDCWD, "dev", 0, sealed, sizeof sealed), "seal /dev");
        for (size_t i = 0; i < count; i++)
                attach(sources[i], binds[i][1] + 1);
        if (pivots) {
                check(syscall(SYS_pivot_root, ".", "."), "pivot_root");
                check(umount2(".", MNT_DETACH), "umount the old root");
        }
}

static void raise_loopback(void) {
        struct ifreq request = { .ifr_name = "lo", .ifr_flags = IFF_UP | IFF_RUNNING };
        int fd = (int) check(socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0), "socket");
        check(ioctl(fd, SIOCSIFFLAGS, &request), "lo up");
        close(fd);
}

static void map_own_id(uid_t uid, gid_t gid) {
        char text[32], digits[12];
        for (int group = 0; group < 2; group++) {
                unsigned id = group ? gid : uid;
                char *p = digits + sizeof digits;
                *--p = 0;
                do
                        *--p = (char) ('0' + id % 10);
                while ((id /= 10) > 0);
                strcpy(text, p);
                strcat(text, " ");
                strcat(text, p);
                strcat(text, " 1");
                if (group)
                        write_file("/proc/self/setgroups", "deny");
                write_file(group ? "/proc/self/gid_map" : "/proc/self/uid_map", text);
        }
}

static void map_range(pid_t child) {
        char path[40] = "/proc/", digits[12], *p = digits + sizeof digits;
        *--p = 0;
        do
                *--p = (char) ('0' + child % 10);
        while ((child /= 10) > 0);
        strcat(path, p);
        char *end = path + strlen(path);
        strcpy(end, "/uid_map");
        write_file(path, "0 " FIRST_ID " 65536");
        strcpy(end, "/gid_map");
        write_file(path, "0 " FIRST_ID " 65536");
}

static void drop_capabilities(void) {
        uint32_t head[2] = { CAPABILITY_VERSION_3, 0 }, none[6] = { 0 };
        for (unsigned long cap = 0; prctl(PR_CAPBSET_DROP, cap, 0, 0, 0) == 0; cap++)
                ;
        check(syscall(SYS_capset, head, none), "capset");
        check(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), "no_new_privs");
}

/* The working directory is left in the new cgroup. */
static int make_cgroup(const char *above) {
        check(chdir(above), above);
        check(mkdir("floor", 0755), "the cgroup");
        check(chdir("floor"), "the cgroup");
        write_file("memory.max", "67108864");
        write_file("pids.max", "20");
        return (int) check(open(".", O_PATH | O_DIRECTORY | O_CLOEXEC), "the cgroup");
}

static size_t read_program(const char *path, struct instruction *program, size_t room) {
        int fd = (int) check(open(path, O_RDONLY | O_CLOEXEC), path);
        ssize_t size = check(read(fd, program, room), path);
        close(fd);
        return (size_t) size / sizeof *program;
}

/* Comes back in the payload; this process reaps until that has ended. */
static void stay_as_init(void) {
        int status;
        pid_t payload = fork(), pid;
        check(payload, "fork");
        if (payload == 0)
                return;
        while ((pid = waitpid(-1, &status, 0)) != payload)
                check(pid, "wait");
        _exit(WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status));
}

static void load_filter(struct instruction *program, size_t count) {
        struct {
                unsigned short count;
                struct instruction *program;
        } whole = { (unsigned short) count, program };
        check(syscall(SYS_seccomp, FILTER_MODE, 0, &whole), "seccomp");
}

int main(int argc, char **argv, char **environment) {
        static struct instruction program[4096];
        static const char *binds[MAX_BINDS][2];
        size_t count = 0, instructions = 0;
        int at = 1, pivots = 0, ready[2], status;
        char byte = 0;
        if (argc > 1 && strcmp(argv[1], "-p") == 0)
                pivots = at++;
        if (at + 1 < argc && strcmp(argv[at], "-x") == 0) {
                instructions = read_program(argv[at + 1], program, sizeof program);
                at += 2;
        }
        const char *above = NULL;
        if (at + 1 < argc && strcmp(argv[at], "-g") == 0) {
                above = argv[at + 1];
                at += 2;
        }
        for (; at + 3 < argc && strcmp(argv[at], "-b") == 0 && count < MAX_BINDS; at += 3, count++) {
                binds[count][0] = argv[at + 1];
                binds[count][1] = argv[at + 2];
        }
        if (at >= argc) {
                errno = EINVAL;
                fail("no command");
        }
        uid_t uid = getuid();
        gid_t gid = getgid();
        check(pipe2(ready, O_CLOEXEC), "pipe");
        /* struct clone_args: flags, pidfd, child_tid, parent_tid, exit_signal, stack, its size, tls, set_tid, its size,
         * cgroup */
        uint64_t args[11] = { NEWUSER | NEWNS | NEWPID | NEWNET | NEWIPC | NEWUTS | NEWCGROUP | NEWTIME, 0, 0, 0, SIGCHLD };
        if (above != NULL) {
                args[0] |= INTO_CGROUP;
                args[10] = (uint64_t) make_cgroup(above);
        }
        pid_t child = (pid_t) check(syscall(CALL_CLONE3, args, above == NULL ? 64 : sizeof args), "clone3");
        if (child == 0) {
                check(prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0), "death signal");
                raise_loopback();
                check(sethostname("sandbox", 7), "sethostname");
                check(setsid(), "setsid");
                if (uid == 0) {
                        check(read(ready[0], &byte, 1), "wait for the maps");
                        check(setgroups(0, NULL), "setgroups");
                        check(setresgid(1000, 1000, 1000), "setresgid");
                        check(setresuid(1000, 1000, 1000), "setresuid");
                } else
                        map_own_id(uid, gid);
                make_root((const char *const(*)[2]) binds, count, pivots);
                if (instructions > 0) {
                        drop_capabilities();
                        stay_as_init();
                        load_filter(program, instructions);
                }
                execve(argv[at], argv + at, environment);
                fail(argv[at]);
        }
        if (uid == 0) {
                map_range(child);
                check(write(ready[1], &byte, 1), "let the child go on");
        }
        check(waitpid(child, &status, 0), "wait");
        if (above != NULL) {
                check(chdir(above), above);
                check(rmdir("floor"), "remove the cgroup");
        }
        return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}
