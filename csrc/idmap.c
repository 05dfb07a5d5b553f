/* Id maps: of the sandbox's user namespace, and of mounts whose owner is to appear as the payload. */
#include "context.h"
#include "sys.h"
#include "text.h"

#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>

static int write_at(int dir, const char *name, const char *text) {
        cleanup_fd int fd = openat(dir, name, O_WRONLY | O_CLOEXEC | O_NOFOLLOW);
        if (fd < 0)
                return -errno;
        ssize_t n = write(fd, text, strlen(text));
        return n < 0 ? -errno : (size_t) n == strlen(text) ? 0 : -EIO;
}

static int write_maps_at(const char *dir, const char *uid_map, const char *gid_map, int setgroups) {
        cleanup_fd int fd = open(dir, O_PATH | O_DIRECTORY | O_CLOEXEC);
        if (fd < 0)
                return -errno;
        int r = setgroups ? 0 : write_at(fd, "setgroups", "deny");
        if (r >= 0)
                r = write_at(fd, "uid_map", uid_map);
        if (r >= 0)
                r = write_at(fd, "gid_map", gid_map);
        return r;
}

int write_maps(pid_t pid, const char *uid_map, const char *gid_map, int setgroups) {
        char dir[32];
        append_number(append(dir, "/proc/"), (uint64_t) pid);
        return write_maps_at(dir, uid_map, gid_map, setgroups);
}

int write_own_maps(const struct context *c) {
        return write_maps_at("/proc/self", string_of(c, c->maps->uid_map), string_of(c, c->maps->gid_map),
                             c->maps->setgroups != 0);
}

/* newuidmap(1) and newgidmap(1) take the map's numbers as arguments. */
static int run_helper(const char *program, const char *pid, const char *map) {
        char words[1024], *argv[64] = { (char *) program, (char *) pid };
        char *const none[] = { NULL };
        int argc = 2, status;
        if (strlen(map) >= sizeof words)
                return -E2BIG;
        append(words, map);
        for (char *at = words; *at != 0;) {
                at += strspn(at, " \n");
                if (*at == 0)
                        break;
                if (argc == 63)
                        return -E2BIG;
                argv[argc++] = at;
                at += strcspn(at, " \n");
                if (*at != 0)
                        *at++ = 0;
        }
        pid_t child = vfork();
        if (child < 0)
                return -errno;
        if (child == 0) {
                execve(program, argv, none);
                _exit(127);
        }
        while (waitpid(child, &status, 0) < 0)
                if (errno != EINTR)
                        return -errno;
        if (WIFEXITED(status) && WEXITSTATUS(status) == 127)
                return -ENOENT;
        return WIFEXITED(status) && WEXITSTATUS(status) == 0 ? 0 : -EPERM;
}

/* Where distributions install them; never where the caller's environment says. */
static const char *const helpers[][2] = {
        { "/usr/bin/newuidmap", "/usr/bin/newgidmap" },
        { "/bin/newuidmap", "/bin/newgidmap" },
        { "/usr/local/bin/newuidmap", "/usr/local/bin/newgidmap" },
        { "/run/wrappers/bin/newuidmap", "/run/wrappers/bin/newgidmap" },
};

int write_maps_by_helper(pid_t pid, const struct context *c) {
        char text[24];
        append_number(text, (uint64_t) pid);
        int r = -ENOENT;
        for (size_t i = 0; r == -ENOENT && i < sizeof helpers / sizeof *helpers; i++) {
                r = run_helper(helpers[i][0], text, string_of(c, c->maps->uid_map));
                if (r >= 0)
                        r = run_helper(helpers[i][1], text, string_of(c, c->maps->gid_map));
        }
        return r;
}

static char *one_id(char *at, uint64_t from, uint64_t to) {
        at = append(append_number(at, from), " ");
        return append(append(append_number(at, to), " 1"), "\n");
}

/* A user namespace lives on in a descriptor: a process is needed only to make it and to be mapped. */
int idmap_user_namespace(uint64_t from_uid, uint64_t to_uid, uint64_t from_gid, uint64_t to_gid) {
        struct clone_arguments args = { .flags = CLONE_NEWUSER, .exit_signal = SIGCHLD };
        char uids[64], gids[64], path[48];
        pid_t supervisor = getpid();
        int status;
        one_id(uids, from_uid, to_uid);
        one_id(gids, from_gid, to_gid);
        pid_t pid = CALL(SYS_clone3, &args, sizeof args);
        if (pid < 0)
                return pid;
        if (pid == 0) {
                prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0);
                while (getppid() == 0 || getppid() == supervisor) /* 0: in an outer PID namespace */
                        pause();
                _exit(0);
        }
        int r = write_maps(pid, uids, gids, 1);
        if (r >= 0) {
                append(append_number(append(path, "/proc/"), (uint64_t) pid), "/ns/user");
                r = open(path, O_RDONLY | O_CLOEXEC);
                if (r < 0)
                        r = -errno;
        }
        kill(pid, SIGKILL);
        while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
                ;
        return r;
}
