/* The tree of mounts: made writable again, taken apart, left by a handle. */
#include "probe.h"

#include <fcntl.h>
#include <linux/mount.h>
#include <sched.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

/* <sys/mount.h> defines what <linux/mount.h> does once more. */
#define MNT_DETACH 2

static long remount(char **a) {
        return syscall(SYS_mount, NULL, a[0], NULL, (unsigned long) (MS_REMOUNT | MS_BIND), NULL);
}

static long set_writable(char **a) {
        struct mount_attr attributes = { .attr_clr = MOUNT_ATTR_RDONLY };
        return syscall(SYS_mount_setattr, AT_FDCWD, a[0], 0, &attributes, sizeof attributes);
}

/* The same as root of a user namespace below: mounts that came along from above are locked there. */
static long remount_nested(char **a) {
        return unshare(CLONE_NEWUSER | CLONE_NEWNS) < 0 ? -1 : remount(a);
}

static long mount_tmpfs(char **a) {
        return syscall(SYS_mount, "tmpfs", a[0], "tmpfs", 0ul, NULL);
}

static long bind_mount(char **a) {
        return syscall(SYS_mount, a[0], a[1], NULL, (unsigned long) (MS_BIND | MS_REC), NULL);
}

static long take_off(char **a) {
        return syscall(SYS_umount2, a[0], MNT_DETACH);
}

static long new_file_system(char **a) {
        return syscall(SYS_fsopen, a[0], 0);
}

static long copy_tree(char **a) {
        return syscall(SYS_open_tree, AT_FDCWD, a[0], OPEN_TREE_CLONE | AT_RECURSIVE);
}

/* A mount of the payload's own if it can make one, else the call itself on what is there. */
static const char *own_mount(void) {
        static const char place[] = "/tmp";
        syscall(SYS_mount, "tmpfs", place, "tmpfs", 0ul, NULL);
        return place;
}

static long move_tree(char **a) {
        const char *from = own_mount();
        (void) a;
        return syscall(SYS_move_mount, AT_FDCWD, from, AT_FDCWD, "/dev", 0);
}

static long pivot(char **a) {
        (void) a;
        if (chdir(own_mount()) < 0)
                return -1;
        return syscall(SYS_pivot_root, ".", ".");
}

static long take_off_own(char **a) {
        (void) a;
        return syscall(SYS_umount2, own_mount(), MNT_DETACH);
}

/* Any file of a file system by its number, past every directory that is closed: ext4's root is 2. */
static long by_handle(char **a) {
        struct { unsigned bytes; int type; uint32_t number[2]; } handle = { 8, 1, { (uint32_t) number(a[1]), 0 } };
        int at = open(a[0], O_RDONLY | O_DIRECTORY);
        return at < 0 ? -1 : syscall(SYS_open_by_handle_at, at, &handle, O_RDONLY);
}

/* Mounts that heed set-user-id bits, or device nodes except in the trees that are named. */
static long flagless(char **a) {
        static char text[1 << 18];
        char *save = NULL;
        int found = 0;
        if (slurp("/proc/self/mountinfo", text, sizeof text) < 0)
                return -1;
        for (char *line = strtok_r(text, "\n", &save); line != NULL; line = strtok_r(NULL, "\n", &save)) {
                char point[1024], options[1024];
                int excepted = 0;
                if (sscanf(line, "%*s %*s %*s %*s %1023s %1023s", point, options) != 2)
                        continue;
                for (char **name = a + 1; *name != NULL; name++)
                        excepted |= strncmp(point, *name, strlen(*name)) == 0;
                if (!excepted && strstr(options, a[0]) == NULL && found++ < 5)
                        say("%s ", point);
        }
        return found ? 0 : nothing();
}

/* Mounts that take part in what happens to others'; with a word, once they have been made to. */
static long propagating(char **a) {
        static char text[1 << 18];
        char *save = NULL;
        int found = 0;
        if (a[0] != NULL && syscall(SYS_mount, NULL, "/", NULL, (unsigned long) (MS_REC | MS_SHARED), NULL) < 0)
                return -1;
        if (slurp("/proc/self/mountinfo", text, sizeof text) < 0)
                return -1;
        for (char *line = strtok_r(text, "\n", &save); line != NULL; line = strtok_r(NULL, "\n", &save)) {
                char *end = strstr(line, " - ");
                if (end != NULL)
                        *end = 0;
                if ((strstr(line, " shared:") != NULL || strstr(line, " master:") != NULL) && found++ < 5)
                        say("%s; ", line);
        }
        return found ? 0 : nothing();
}

/* A line of mountinfo that holds a text: something of the host's that wasn't planned. */
static long mounted(char **a) {
        static char text[1 << 18];
        if (slurp("/proc/self/mountinfo", text, sizeof text) < 0)
                return -1;
        return strstr(text, a[0]) != NULL ? 0 : nothing();
}

const struct verb mount_verbs[] = {
        { "remount-writable", remount, 1 },
        { "set-writable", set_writable, 1 },
        { "remount-nested", remount_nested, 1 },
        { "mount-tmpfs", mount_tmpfs, 1 },
        { "bind-mount", bind_mount, 2 },
        { "take-off", take_off, 1 },
        { "take-off-own", take_off_own, 0 },
        { "fsopen", new_file_system, 1 },
        { "open-tree", copy_tree, 1 },
        { "move-mount", move_tree, 0 },
        { "pivot-root", pivot, 0 },
        { "open-by-handle", by_handle, 2 },
        { "mounts-without", flagless, 1 },
        { "propagating-mounts", propagating, 0 },
        { "mounted", mounted, 1 },
        END_OF_VERBS,
};
