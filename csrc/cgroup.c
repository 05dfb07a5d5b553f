/* The plan's ops on the sandbox's cgroups, and how its first process comes to be in them.
 *
 * Version 2: clone3 makes the process in the cgroup.  Version 1: the process writes "0" to `tasks` of each.  A process
 * of one thread that moves itself needs no lock over all forks of the machine, for which any other way waits 5 to 15
 * ms until every processor has passed a point of rest ("cgroup: Optimize single thread migration", Linux 5.5).  The
 * supervisor has opened the files: the kernel asks for the rights of who opened them. */
#include "cgroup.h"
#include "record.h"
#include "sys.h"
#include "text.h"

#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/sysmacros.h>

static const struct {
        const char *name;
        uint32_t bit;
        const char *file; /* of version 2, by which a cgroup shows that it has the controller */
} controllers[] = {
        { "memory", CONTROLLER_MEMORY, "memory.current" },
        { "pids", CONTROLLER_PIDS, "pids.current" },
        { "cpu", CONTROLLER_CPU, "cpu.weight" },
        { "cpuset", CONTROLLER_CPUSET, "cpuset.cpus" },
        { "io", CONTROLLER_IO, "io.max" },
        { "blkio", CONTROLLER_IO, NULL },
        { "cpuacct", CONTROLLER_CPUACCT, NULL },
};
#define CONTROLLERS (sizeof controllers / sizeof *controllers)

static size_t index_of(const char *controller) {
        size_t i = 0;
        while (i < CONTROLLERS && strcmp(controllers[i].name, controller) != 0)
                i++;
        return i;
}

/* ---- Preparing ---- */

int prepare_create_cgroup(struct context *c, const void *payload) {
        const struct op_create_cgroup *op = payload;
        if (c->cgroups.version != 0 || (op->version != 1 && op->version != 2))
                return -EINVAL;
        c->cgroups.version = (uint32_t) op->version;
        c->cgroup_op = c->at.op;
        return record_name(c->launch, c->cgroups.name);
}

static struct sbx_cgroup *find_or_make(struct context *c, const struct op_set_cgroup *op, int *ret_error) {
        struct sbx_cgroups *g = &c->cgroups;
        const char *hierarchy = string_of(c, op->hierarchy);
        for (uint32_t i = 0; i < g->count; i++)
                if (g->version == 2 || strcmp(c->hierarchies[i], hierarchy) == 0)
                        return &g->at[i];
        struct sbx_cgroup *new = &g->at[g->count];
        *ret_error = -EINVAL;
        if (g->version == 0 || g->count == SBX_MAX_CGROUPS)
                return NULL;
        *ret_error = cgroup_make(hierarchy, string_of(c, op->controller), (int) g->version, g->name, new, &c->at.detail);
        if (*ret_error < 0)
                return NULL;
        c->hierarchies[g->count] = hierarchy;
        c->entrances[g->count++] = -1;
        return new;
}

/* A list such as "0-3,7" as a set. */
#define MAX_CPUS 8192
static void parse_list(const char *text, uint8_t set[MAX_CPUS / 8]) {
        memset(set, 0, MAX_CPUS / 8);
        while (*text >= '0' && *text <= '9') {
                char *end;
                unsigned long from = strtoul(text, &end, 10), to = from;
                if (*end == '-')
                        to = strtoul(end + 1, &end, 10);
                for (unsigned long i = from; i <= to && i < MAX_CPUS; i++)
                        set[i / 8] |= (uint8_t) (1u << i % 8);
                text = *end == ',' ? end + 1 : end;
        }
}

/* Version 2 takes processors that can't be had, and then lets the cgroup have all that are above it. */
static int is_effective(int directory, const char *file, const char *value) {
        char above[64], text[4096];
        uint8_t wanted[MAX_CPUS / 8], had[MAX_CPUS / 8];
        append(append(append(above, "../"), file), ".effective");
        if (read_text(directory, above, text, sizeof text) < 0)
                return 1;
        parse_list(value, wanted);
        parse_list(text, had);
        for (size_t i = 0; i < sizeof wanted; i++)
                if (wanted[i] & ~had[i])
                        return 0;
        return 1;
}

/* What the same file says above; of version 1's cpusets those on the way start empty as well. */
static int inherit(int directory, const char *file, int levels) {
        char text[4096];
        cleanup_fd int above = openat(directory, "..", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        if (above < 0)
                return -errno;
        ssize_t n = read_text(above, file, text, sizeof text);
        if (n == 1 && levels > 0) {
                int r = inherit(above, file, levels - 1);
                if (r < 0)
                        return r;
                n = read_text(above, file, text, sizeof text);
        }
        return n < 0 ? (int) n : write_text(directory, file, text);
}

/* "/dev/sda rbps=1": disks have numbers to the kernel, which may be others after the next boot. */
static int write_for_disk(int directory, const char *file, const char *value) {
        char path[PATH_MAX], line[256];
        struct stat st;
        size_t n = strcspn(value, " ");
        const char *rest = value + n;
        if (n >= sizeof path || strlen(rest) >= sizeof line - 48)
                return -EINVAL;
        memcpy(path, value, n);
        path[n] = 0;
        if (stat(path, &st) < 0)
                return -ENODEV;
        if (!S_ISBLK(st.st_mode))
                return -ENOTBLK;
        append(append_number(append(append_number(line, major(st.st_rdev)), ":"), minor(st.st_rdev)), rest);
        return write_text(directory, file, line);
}

/* A cpuset of version 1 may have what the one above has: nothing, at first. */
static int set_value(int directory, const char *file, const char *value) {
        if (*value == 0)
                return inherit(directory, file, 2);
        if (*value == '/')
                return write_for_disk(directory, file, value);
        int r = write_text(directory, file, value);
        if (r != -EACCES || strncmp(file, "cpuset.", 7) != 0)
                return r;
        char text[4096];
        cleanup_fd int above = openat(directory, "..", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        if (above < 0 || read_text(above, file, text, sizeof text) != 1)
                return -ERANGE;
        r = inherit(above, file, 1);
        if (r >= 0)
                r = write_text(directory, file, value);
        return r == -EACCES ? -ERANGE : r;
}

static uint32_t detail_of_value(int error) {
        switch (error) {
        case -EROFS:
                return DETAIL_CGROUP_READ_ONLY;
        case -EACCES:
        case -EPERM:
                return DETAIL_NOT_DELEGATED;
        case -ENOENT:
                return DETAIL_NO_CONTROLLER;
        case -EBUSY:
                return DETAIL_BELOW_USE;
        default:
                return DETAIL_VALUE_REFUSED;
        }
}

/* Those of version 1 are always on; those of version 2 as soon as the cgroups above say so. */
static void measure_with(struct context *c, struct sbx_cgroup *cgroup, size_t controller) {
        uint32_t detail;
        int here = controller < CONTROLLERS &&
                   (c->cgroups.version == 1 ||
                    (controllers[controller].file != NULL && (faccessat(cgroup->directory, controllers[controller].file, F_OK, 0) == 0 ||
                                                              cgroup_enable(cgroup->directory, controllers[controller].name, &detail) >= 0)));
        if (here)
                cgroup->controllers |= controllers[controller].bit;
}

int prepare_set_cgroup(struct context *c, const void *payload) {
        const struct op_set_cgroup *op = payload;
        const char *controller = string_of(c, op->controller), *file = string_of(c, op->file), *value = string_of(c, op->value);
        size_t number = index_of(controller);
        int r = 0;
        struct sbx_cgroup *cgroup = find_or_make(c, op, &r);
        if (cgroup == NULL)
                return r;
        if (*file == 0) {
                measure_with(c, cgroup, number);
                return 0;
        }
        if (strchr(file, '/') != NULL || strlen(file) > 40)
                return -EINVAL;
        r = set_value(cgroup->directory, file, value);
        if (r == -ENOENT && c->cgroups.version == 2) {
                r = cgroup_enable(cgroup->directory, controller, &c->at.detail);
                if (r < 0)
                        return r;
                r = set_value(cgroup->directory, file, value);
        }
        if (r < 0) {
                c->at.detail = detail_of_value(r);
                return r;
        }
        if (c->cgroups.version == 2 && strcmp(controller, "cpuset") == 0 && !is_effective(cgroup->directory, file, value)) {
                c->at.detail = DETAIL_VALUE_REFUSED;
                return -ERANGE;
        }
        if (number < CONTROLLERS)
                cgroup->controllers |= controllers[number].bit;
        return 0;
}

/* ---- Entering ---- */

int cgroups_open_entrances(struct context *c, uint64_t *flags) {
        struct sbx_cgroups *g = &c->cgroups;
        /* Its root is the cgroup of who makes it, at that moment; with clone3 that would be the supervisor. */
        if (g->count > 0 && (c->clone_flags & CLONE_NEWCGROUP)) {
                *flags &= ~(uint64_t) CLONE_NEWCGROUP;
                c->hides_cgroups = 1;
        }
        if (g->version != 1)
                return 0;
        for (uint32_t i = 0; i < g->count; i++) {
                c->entrances[i] = openat(g->at[i].directory, "tasks", O_WRONLY | O_CLOEXEC | O_NOFOLLOW);
                if (c->entrances[i] < 0) {
                        c->at = (struct sbx_failure) { .stage = STAGE_PREPARE, .op = c->cgroup_op, .detail = detail_of_value(-errno) };
                        return -errno;
                }
        }
        return 0;
}

void cgroups_close_entrances(struct context *c) {
        for (uint32_t i = 0; i < c->cgroups.count; i++)
                close_fd(&c->entrances[i]);
}

int cgroups_enter(struct context *c) {
        c->at.op = c->cgroup_op;
        c->at.detail = DETAIL_CGROUP_ENTERED;
        for (uint32_t i = 0; i < c->cgroups.count; i++) {
                if (c->entrances[i] >= 0 && write(c->entrances[i], "0", 1) < 0)
                        return -errno;
                close_fd(&c->entrances[i]);
                close_fd(&c->cgroups.at[i].directory);
        }
        if (c->hides_cgroups && unshare(CLONE_NEWCGROUP) < 0)
                return -errno;
        c->at.detail = DETAIL_NONE;
        return 0;
}

int cgroups_refused(const struct context *c, int error) {
        return c->cgroups.version == 2 && c->cgroups.count > 0 &&
               (error == -EBUSY || error == -EOPNOTSUPP || error == -ENODEV || error == -E2BIG);
}
