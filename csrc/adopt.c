/* Takes a sandbox over from a supervisor that has gone. */
#include "adopt.h"
#include "cgroup.h"
#include "events.h"
#include "fields.h"
#include "python.h"
#include "record.h"
#include "service.h"
#include "sys.h"

#include <linux/magic.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/vfs.h>

#define PATIENCE_S 5 /* the init answers at once, after the first moment of its payload */

/* ---- Asking the init ---- */

static int connect_to(int directory) {
        struct sockaddr_un address = { .sun_family = AF_UNIX };
        struct timeval patience = { .tv_sec = PATIENCE_S };
        int yes = 1;
        snprintf(address.sun_path, sizeof address.sun_path, "/proc/self/fd/%d/adopt", directory);
        cleanup_fd int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
        if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_PASSCRED, &yes, sizeof yes) < 0 ||
            setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience) < 0)
                return -errno;
        if (connect(fd, (struct sockaddr *) &address, sizeof address) < 0)
                return errno == ECONNREFUSED ? -ESRCH : errno == ENOENT ? -EOPNOTSUPP : -errno;
        return take_fd(&fd);
}

static void take_kept(struct survivor *s, uint32_t present, const struct cmsghdr *head) {
        size_t count = (head->cmsg_len - CMSG_LEN(0)) / sizeof(int), at = 0;
        for (int i = 0; i < KEPT_COUNT; i++)
                if ((present >> i & 1) && at < count)
                        memcpy(&s->kept[i], CMSG_DATA(head) + at++ * sizeof(int), sizeof(int));
        for (int fd; at < count; at++) {
                memcpy(&fd, CMSG_DATA(head) + at * sizeof fd, sizeof fd);
                close(fd);
        }
}

/* The kernel says whose message it is, by our own numbers. */
static int receive(struct survivor *s) {
        struct survive_message message;
        union {
                struct cmsghdr head;
                char bytes[CMSG_SPACE(KEPT_COUNT * sizeof(int)) + CMSG_SPACE(sizeof(struct ucred))];
        } control;
        struct iovec data = { &message, sizeof message };
        struct msghdr wrapped = { .msg_iov = &data, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof control };
        ssize_t n = recvmsg(s->leash, &wrapped, MSG_CMSG_CLOEXEC);
        if (n == 0 || (n < 0 && errno == ECONNRESET))
                return -EBUSY;
        if (n < 0)
                return errno == EAGAIN ? -ETIMEDOUT : -errno;
        for (struct cmsghdr *head = CMSG_FIRSTHDR(&wrapped); head != NULL; head = CMSG_NXTHDR(&wrapped, head)) {
                struct ucred from;
                if (head->cmsg_level == SOL_SOCKET && head->cmsg_type == SCM_RIGHTS)
                        take_kept(s, n == sizeof message ? message.present : 0, head);
                else if (head->cmsg_level == SOL_SOCKET && head->cmsg_type == SCM_CREDENTIALS) {
                        memcpy(&from, CMSG_DATA(head), sizeof from);
                        s->pid = from.pid;
                }
        }
        if (n != sizeof message || message.version != SURVIVE_VERSION || s->pid <= 0)
                return -EBADMSG;
        return s->kept[KEPT_STATUS] < 0 || s->kept[KEPT_DIRECTORY] < 0 || s->kept[KEPT_PLAN] < 0 ? -EBADMSG : 0;
}

/* The init closes the connection only by its end: while it is open, the number is still its own. */
static int open_pidfd(struct survivor *s) {
        struct pollfd leash = { .fd = s->leash, .events = POLLIN };
        s->pidfd = CALL(SYS_pidfd_open, s->pid, 0);
        if (s->pidfd < 0)
                return s->pidfd;
        return poll(&leash, 1, 0) != 0 ? -ESRCH : 0;
}

static int is_same_directory(int a, int b) {
        struct stat x, y;
        return fstat(a, &x) >= 0 && fstat(b, &y) >= 0 && x.st_dev == y.st_dev && x.st_ino == y.st_ino;
}

/* ---- The record ---- */

/* What is in one is killed at the end, and it is removed. */
static int is_cgroup(int directory) {
        struct statfs fs;
        return fstatfs(directory, &fs) >= 0 && (fs.f_type == CGROUP_SUPER_MAGIC || fs.f_type == CGROUP2_SUPER_MAGIC);
}

/* cgroups_remove() finds a cgroup by its directory's name. */
static void take_cgroup(struct sbx_cgroups *g, const char *path) {
        const char *name = strrchr(path, '/');
        if (name == NULL || g->count == SBX_MAX_CGROUPS || strlen(name + 1) >= sizeof g->name)
                return;
        int fd = open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
        if (fd < 0)
                return;
        if (!is_cgroup(fd)) {
                close(fd);
                return;
        }
        strcpy(g->name, name + 1);
        g->version = faccessat(fd, "cgroup.controllers", F_OK, 0) == 0 ? 2 : 1;
        g->at[g->count++] = (struct sbx_cgroup) { .directory = fd, .controllers = ~0u };
}

static void take_cgroups(int directory, struct sbx_cgroups *g) {
        char text[RECORD_MAX];
        ssize_t n = fields_read(directory, "record", text, sizeof text);
        for (const char *at = text; at < text + n; at += strlen(at) + 1)
                if (strncmp(at, "cgroup=", 7) == 0)
                        take_cgroup(g, at + 7);
}

static int64_t number_in(int directory, const char *key) {
        char text[RECORD_MAX];
        const char *value = field_of(text, fields_read(directory, "record", text, sizeof text), key);
        return value == NULL ? 0 : strtoll(value, NULL, 10);
}

/* ---- Taking over ---- */

static void read_end(struct survivor *s) {
        struct report report;
        cleanup_fd int fd = openat(s->record.directory_fd, "end", O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
        s->ended = 1;
        s->status = fd >= 0 && read(fd, &report, sizeof report) == sizeof report && report.kind == REPORT_ENDED ? report.status : -1;
}

static int take_over(struct survivor *s) {
        int directory = s->record.directory_fd;
        s->leash = connect_to(directory);
        int r = s->leash < 0 ? s->leash : receive(s);
        if (r >= 0)
                r = open_pidfd(s);
        if (r == -ESRCH)
                read_end(s);
        if (r < 0)
                return r;
        if (!is_same_directory(directory, s->kept[KEPT_DIRECTORY]) || number_in(directory, "first") != s->pid)
                return -EXDEV;
        /* The lock on the directory is the init's descriptor's. */
        close_fd(&s->record.directory_fd);
        s->record.directory_fd = take_fd(&s->kept[KEPT_DIRECTORY]);
        return cache_read(s->kept[KEPT_PLAN], &s->plan);
}

int adopt_open(const char *name, char *const *environment, struct survivor *ret) {
        struct stat st;
        struct survivor s = { .record = SBX_NO_RECORD, .pidfd = -1, .leash = -1 };
        for (int i = 0; i < KEPT_COUNT; i++)
                s.kept[i] = -1;
        *ret = s;
        if (!record_is_name(name))
                return -ENOENT;
        strcpy(s.record.name, name);
        s.record.runtime_fd = record_open_runtime(environment, 0);
        if (s.record.runtime_fd < 0)
                return s.record.runtime_fd;
        s.record.directory_fd = openat(s.record.runtime_fd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
        int r = s.record.directory_fd < 0 || fstat(s.record.directory_fd, &st) < 0 ? -errno : 0;
        if (r >= 0 && (st.st_uid != geteuid() || (st.st_mode & 077) != 0))
                r = -EPERM;
        if (r >= 0)
                r = take_over(&s);
        *ret = s;
        if (r < 0 && !s.ended)
                adopt_close(ret);
        return r;
}

void adopt_close(struct survivor *s) {
        for (int i = 0; i < KEPT_COUNT; i++)
                close_fd(&s->kept[i]);
        close_fd(&s->pidfd);
        close_fd(&s->leash);
        close_fd(&s->record.directory_fd);
        close_fd(&s->record.runtime_fd);
}

/* Somebody else may be burying it already, or have taken its name since. */
void adopt_bury(struct survivor *s) {
        struct sbx_cgroups cgroups = { 0 };
        if (flock(s->record.directory_fd, LOCK_EX | LOCK_NB) < 0)
                return;
        take_cgroups(s->record.directory_fd, &cgroups);
        cgroups_remove(&cgroups);
        if (s->status >= 0) {
                struct sbx_exit end = { .status = s->status, .cause = WIFSIGNALED(s->status) ? SBX_SIGNALED : SBX_EXITED };
                events_tell_end(&(struct sbx_launch) { .record = &s->record }, &end);
        }
        record_remove(&s->record);
}

/* What a launch prepares for the supervisor alone is prepared again; what the init has kept takes its place there. */
static int prepare_again(const struct sbx_launch *launch, struct survivor *s, struct service **ret) {
        struct context c = { .launch = launch, .plan = launch->plan, .kept_fds = s->kept };
        const struct plan_record *r = plan_first_op(launch->plan);
        int error = 0;
        for (uint32_t i = 0; error >= 0 && i < launch->plan->header->op_count; i++, r = plan_next(r))
                if (r->kind == PLAN_RunService)
                        error = prepare_run_service(&c, plan_payload(r));
                else if (r->kind == PLAN_OpenNotify)
                        error = prepare_open_notify(&c, plan_payload(r));
                else if (r->kind == PLAN_KeepLog)
                        error = prepare_keep_log(&c, plan_payload(r));
                else if (r->kind == PLAN_CheckHealth)
                        error = prepare_check_health(&c, plan_payload(r));
        *ret = c.service;
        return error < 0 ? error : c.service == NULL ? -EBADMSG : 0;
}

int sbx_adopt(const struct sbx_launch *launch, struct survivor *s, struct sbx_child *ret_child) {
        struct sbx_child child = {
                .pid = s->pid,
                .pidfd = take_fd(&s->pidfd),
                .status_fd = take_fd(&s->kept[KEPT_STATUS]),
                .terminal_fd = -1,
                .has_init = 1,
                .started = 1,
        };
        child.usage.begun_ns = (uint64_t) number_in(launch->record->directory_fd, "begun_ns");
        int r = prepare_again(launch, s, &child.service);
        if (r < 0) {
                service_free(child.service);
                close_fd(&child.pidfd);
                close_fd(&child.status_fd);
                return r;
        }
        take_cgroups(launch->record->directory_fd, &child.cgroups);
        *ret_child = child;
        return 0;
}

/* ---- For the command line ---- */

static int survives(const struct plan *p) {
        const struct plan_record *r = plan_first_op(p);
        for (uint32_t i = 0; i < p->header->op_count; i++, r = plan_next(r))
                if (r->kind == PLAN_Survive)
                        return 1;
        return 0;
}

static int is_profile_of(const struct plan *a, const struct plan *b) {
        const char *one = record_profile(a), *other = record_profile(b);
        return one != NULL && other != NULL && strcmp(one, other) == 0;
}

int adopt_profile(const char *name, const struct plan *plan, char *const *environment, struct survivor *ret) {
        if (!survives(plan))
                return -EOPNOTSUPP;
        int r = adopt_open(name, environment, ret);
        if (r < 0) {
                adopt_close(ret);
                return r;
        }
        if (is_profile_of(plan, &ret->plan.plan))
                return 0;
        adopt_close(ret);
        return -EXDEV;
}

void adopt_refuse(const char *name, int error) {
        static const struct {
                int error;
                const char *says;
        } words[] = {
                { ENOENT, ": there is no live sandbox of this name\nhint: 'sbx ps' lists them\n" },
                { EBUSY, ": it has a supervisor\nhint: 'sbx stop' asks it to end; only what has lost its supervisor can be taken over\n" },
                { EOPNOTSUPP, ": it doesn't survive its supervisor\nhint: set service.survive = true in its profile\n" },
                { ETIMEDOUT, ": its init doesn't answer\nhint: it may be paused: 'sbx resume' lets it go on\n" },
                { EXDEV, ": its record tells of another process\nhint: look from the PID namespace that it was started in\n" },
        };
        say("sbx: error: ");
        say(name);
        for (size_t i = 0; i < sizeof words / sizeof *words; i++)
                if (words[i].error == error) {
                        say(words[i].says);
                        return;
                }
        say(": it can't be taken over: ");
        say(strerror(error));
        say("\n");
}
