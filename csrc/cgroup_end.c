/* The end of a sandbox's cgroups: what they have counted, and their removal. */
#include "cgroup.h"
#include "sys.h"

#include <dirent.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

/* ---- Counters ---- */

static int read_number(int directory, const char *file, uint64_t *ret) {
        char text[64], *end;
        if (read_text(directory, file, text, sizeof text) <= 0)
                return 0;
        unsigned long long n = strtoull(text, &end, 10);
        if (end == text)
                return 0;
        *ret = n;
        return 1;
}

int find_number(const char *text, const char *key, uint64_t *ret) {
        size_t n = strlen(key);
        for (const char *line = text; *line != 0; line += strcspn(line, "\n"), line += *line == '\n')
                if (strncmp(line, key, n) == 0 && line[n] == ' ') {
                        *ret = strtoull(line + n, NULL, 10);
                        return 1;
                }
        return 0;
}

static int read_field(int directory, const char *file, const char *key, uint64_t *ret) {
        char text[4096];
        return read_text(directory, file, text, sizeof text) > 0 && find_number(text, key, ret);
}

/* The sum over all devices: "8:0 rbytes=1 wbytes=2", or in version 1 "8:0 Read 1". */
static uint64_t sum_of(const char *text, const char *key) {
        uint64_t sum = 0;
        size_t n = strlen(key);
        for (const char *at = strstr(text, key); at != NULL; at = strstr(at, key)) {
                at += n;
                sum += strtoull(at, NULL, 10);
        }
        return sum;
}

/* Memory and swap together, which newer kernels don't count in memory.memsw.failcnt: what was asked for last is at most
 * a batch of pages above what was had. */
#define BATCH (64u * 4096u)
static uint64_t swap_limit_was_hit(int directory) {
        uint64_t peak = 0, limit = 0;
        return read_number(directory, "memory.memsw.max_usage_in_bytes", &peak) &&
               read_number(directory, "memory.memsw.limit_in_bytes", &limit) && peak + BATCH >= limit;
}

static void measure_memory(int directory, int version, struct sbx_usage *u) {
        char text[4096];
        int peak = read_number(directory, version == 2 ? "memory.peak" : "memory.max_usage_in_bytes", &u->memory_peak);
        if (peak)
                u->measured |= SBX_MEASURED_MEMORY;
        if (version == 2) {
                if (read_text(directory, "memory.events", text, sizeof text) > 0) {
                        find_number(text, "oom_kill", &u->oom_kills);
                        find_number(text, "oom", &u->memory_limit_hits);
                }
        } else {
                read_field(directory, "memory.oom_control", "oom_kill", &u->oom_kills);
                read_number(directory, "memory.failcnt", &u->memory_limit_hits);
                if (u->oom_kills > 0 && u->memory_limit_hits == 0)
                        u->memory_limit_hits = swap_limit_was_hit(directory);
        }
}

static void measure_cpu(int directory, int version, struct sbx_usage *u) {
        char text[4096];
        uint64_t ns = 0;
        if (read_text(directory, "cpu.stat", text, sizeof text) <= 0)
                return;
        if (find_number(text, "nr_throttled", &u->throttled_periods))
                u->measured |= SBX_MEASURED_THROTTLING;
        if (version == 2) {
                find_number(text, "throttled_usec", &u->throttled_us);
                if (find_number(text, "user_usec", &u->user_us) && find_number(text, "system_usec", &u->system_us))
                        u->measured |= SBX_MEASURED_CPU;
        } else if (find_number(text, "throttled_time", &ns))
                u->throttled_us = ns / 1000;
}

static void measure_cpuacct(int directory, struct sbx_usage *u) {
        uint64_t user = 0, system = 0;
        if (read_number(directory, "cpuacct.usage_user", &user) && read_number(directory, "cpuacct.usage_sys", &system)) {
                u->user_us = user / 1000;
                u->system_us = system / 1000;
                u->measured |= SBX_MEASURED_CPU;
        }
}

static void measure_io(int directory, int version, struct sbx_usage *u) {
        char text[16384];
        if (read_text(directory, version == 2 ? "io.stat" : "blkio.throttle.io_service_bytes", text, sizeof text) < 0)
                return;
        u->read_bytes = sum_of(text, version == 2 ? "rbytes=" : "Read ");
        u->write_bytes = sum_of(text, version == 2 ? "wbytes=" : "Write ");
        u->measured |= SBX_MEASURED_IO;
}

void cgroups_measure(const struct sbx_cgroups *g, struct sbx_usage *u) {
        int version = (int) g->version;
        for (uint32_t i = 0; i < g->count; i++) {
                const struct sbx_cgroup *at = &g->at[i];
                if (at->controllers & CONTROLLER_MEMORY)
                        measure_memory(at->directory, version, u);
                if (at->controllers & CONTROLLER_PIDS) {
                        read_field(at->directory, "pids.events", "max", &u->pids_limit_hits);
                        read_number(at->directory, "pids.peak", &u->pids_peak);
                        u->measured |= SBX_MEASURED_PIDS;
                }
                if ((at->controllers & CONTROLLER_CPU) || version == 2)
                        measure_cpu(at->directory, version, u);
                if (at->controllers & CONTROLLER_CPUACCT)
                        measure_cpuacct(at->directory, u);
                if (at->controllers & CONTROLLER_IO)
                        measure_io(at->directory, version, u);
        }
}

void cgroups_blame(const struct sbx_cgroups *g, struct sbx_failure *failure) {
        struct sbx_usage u = { 0 };
        if (g->count == 0 || failure->stage == 0)
                return;
        cgroups_measure(g, &u);
        if (failure->error == EAGAIN && u.pids_limit_hits > 0)
                failure->detail = DETAIL_PIDS_LIMIT;
        else if ((failure->detail == DETAIL_ENDED && u.oom_kills > 0) || (failure->error == ENOMEM && u.memory_limit_hits > 0))
                failure->detail = DETAIL_MEMORY_LIMIT;
}

/* ---- Removal ---- */

#define FIRST_WAIT_NS 500000
#define MAX_TRIES 12 /* a second in all */
#define MAX_DEPTH 8
#define AT_ONCE 512 /* processes that are killed in a turn where there is no cgroup.kill */

static int lists(const char *text, long pid) {
        char *end;
        for (const char *at = text;; at = end + 1) {
                long n = strtol(at, &end, 10);
                if (end == at || *end != '\n')
                        return 0;
                if (n == pid)
                        return 1;
        }
}

/* An id may have come to be another's since it was read: one that is listed once its process is held is in here. */
static void kill_listed(int directory) {
        char text[16384], again[16384], *at = text, *end;
        struct {
                long pid;
                int fd;
        } held[AT_ONCE];
        size_t count = 0;
        if (read_text(directory, "cgroup.procs", text, sizeof text) <= 0)
                return;
        for (; count < AT_ONCE; at = end + 1) {
                long pid = strtol(at, &end, 10);
                if (end == at || *end != '\n')
                        break;
                int fd = pid > 0 ? CALL(SYS_pidfd_open, (pid_t) pid, 0) : -1;
                if (fd >= 0) {
                        held[count].pid = pid;
                        held[count++].fd = fd;
                }
        }
        ssize_t n = read_text(directory, "cgroup.procs", again, sizeof again);
        for (size_t i = 0; i < count; i++) {
                if (n > 0 && lists(again, held[i].pid))
                        syscall(SYS_pidfd_send_signal, held[i].fd, SIGKILL, NULL, 0);
                close(held[i].fd);
        }
}

static void kill_processes(int directory) {
        if (write_text(directory, "cgroup.kill", "1") < 0)
                kill_listed(directory);
}

/* What a payload with the rights for it has made below. */
static void remove_below(int directory, int depth) {
        int copy = openat(directory, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        DIR *entries = copy < 0 ? NULL : fdopendir(copy);
        if (entries == NULL) {
                close_fd(&copy);
                return;
        }
        for (struct dirent *entry; (entry = readdir(entries)) != NULL;) {
                if (entry->d_type != DT_DIR || entry->d_name[0] == '.')
                        continue;
                cleanup_fd int below = openat(directory, entry->d_name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
                if (below < 0)
                        continue;
                kill_processes(below);
                if (depth < MAX_DEPTH)
                        remove_below(below, depth + 1);
                unlinkat(directory, entry->d_name, AT_REMOVEDIR);
        }
        closedir(entries);
}

static int remove_one(int directory, const char *name) {
        struct timespec wait = { .tv_nsec = FIRST_WAIT_NS };
        cleanup_fd int above = openat(directory, "..", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        int r = above < 0 ? -errno : -EBUSY;
        for (int tries = 0; r == -EBUSY && tries < MAX_TRIES; tries++) {
                if (tries > 0) {
                        kill_processes(directory);
                        remove_below(directory, 0);
                }
                if (tries > 1) {
                        nanosleep(&wait, NULL);
                        wait.tv_nsec = wait.tv_nsec < 400000000 ? wait.tv_nsec * 2 : wait.tv_nsec;
                }
                r = unlinkat(above, name, AT_REMOVEDIR) < 0 && errno != ENOENT ? -errno : 0;
        }
        return r;
}

int cgroups_remove(struct sbx_cgroups *g) {
        int error = 0;
        for (uint32_t i = 0; i < g->count; i++) {
                char name[SBX_CGROUP_NAME + 12];
                cgroup_name(g->name, g->at[i].number, name);
                int r = remove_one(g->at[i].directory, name);
                error = error < 0 ? error : r;
                close_fd(&g->at[i].directory);
        }
        g->count = 0;
        return error;
}
