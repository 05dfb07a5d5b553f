/* Ops on what lies in a new namespace: procfs, devpts, host name, loopback. */
#include "context.h"
#include "sys.h"

#include <net/if.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

int perform_create_proc(struct context *c, const void *payload) {
        cleanup_fd int fs = CALL(SYS_fsopen, "proc", FSOPEN_CLOEXEC_FLAG);
        if (fs < 0)
                return fs;
        int r = 0;
        if (((const struct op_number *) payload)->value & PROC_PIDS_ONLY)
                r = CALL(SYS_fsconfig, fs, FSCONFIG_STRING, "subset", "pid", 0);
        if (r >= 0)
                r = sys_new_mount(fs, ATTR_NOSUID | ATTR_NODEV | ATTR_NOEXEC);
        if (r < 0)
                return r;
        close_fd(&c->proc_fd);
        c->proc_fd = r;
        return 0;
}

/* Written through the mount made here, never by a path that something else may lie at (CVE-2025-52881). */
int perform_set_sysctl(struct context *c, const void *payload) {
        const struct op_set_sysctl *op = payload;
        char path[256] = "sys/";
        if (op->path.len >= sizeof path - 4)
                return -ENAMETOOLONG;
        strcat(path, string_of(c, op->path));
        cleanup_fd int fd = sys_openat2(c->proc_fd, path, O_WRONLY, RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_XDEV);
        if (fd < 0)
                return fd;
        ssize_t n = write(fd, string_of(c, op->value), op->value.len);
        return n < 0 ? -errno : (size_t) n == op->value.len ? 0 : -EIO;
}

int perform_attach_proc(struct context *c, const void *payload) {
        const struct op_path_number *op = payload;
        struct mount_attributes a = { .set = op->value };
        c->proc_path = string_of(c, op->path);
        int r = sys_mount_setattr(c->proc_fd, 0, &a);
        return r < 0 ? r : attach_at(c, c->proc_fd, c->proc_path, 1, 1);
}

int perform_mount_devpts(struct context *c, const void *payload) {
        const struct op_path *op = payload;
        return mount_at(c, "devpts", ATTR_NOSUID | ATTR_NOEXEC, "ptmxmode=0666,mode=0620", string_of(c, op->path));
}

int perform_set_hostname(struct context *c, const void *payload) {
        const struct op_path *op = payload;
        return CALL(SYS_sethostname, string_of(c, op->path), op->path.len);
}

int perform_bring_up_loopback(struct context *c, const void *payload) {
        struct ifreq request = { .ifr_name = "lo", .ifr_flags = IFF_UP | IFF_RUNNING | IFF_LOOPBACK };
        (void) c;
        (void) payload;
        /* Any socket's ioctl does; this family is there in every kernel and costs least. */
        cleanup_fd int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
        if (fd < 0)
                return -errno;
        return ioctl(fd, SIOCSIFFLAGS, &request) < 0 ? -errno : 0;
}
