/* The supervisor's part after the start: signals in, exit status out, nothing left unreaped. */
#include "cgroup.h"
#include "ending.h"
#include "events.h"
#include "record.h"
#include "service.h"
#include "supervision.h"
#include "sys.h"

#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/wait.h>

#define BIT(sig) (1ull << ((sig) - 1))

/* Faults are the supervisor's own, and stopping is between it and its shell. */
static const uint64_t left_alone = BIT(SIGSEGV) | BIT(SIGBUS) | BIT(SIGILL) | BIT(SIGFPE) | BIT(SIGTRAP) | BIT(SIGABRT) |
                                   BIT(SIGSYS) | BIT(SIGTSTP) | BIT(SIGTTIN) | BIT(SIGTTOU) | BIT(SIGKILL) | BIT(SIGSTOP);

int sbx_block_signals(uint64_t *ret_old) {
        uint64_t set = ~left_alone;
        return CALL(SYS_rt_sigprocmask, SIG_SETMASK, &set, ret_old, sizeof set);
}

int sbx_restore_signals(uint64_t old) {
        return CALL(SYS_rt_sigprocmask, SIG_SETMASK, &old, NULL, sizeof old);
}

void sbx_release(struct sbx_child *child) {
        cgroups_remove(&child->cgroups);
        close_fd(&child->status_fd);
        close_fd(&child->terminal_fd);
        restore_cpus(&child->cpus);
        service_free(child->service);
        child->service = NULL;
        if (child->pidfd > 0)
                close(child->pidfd);
        child->pidfd = 0;
        if (child->memory != NULL)
                munmap(child->memory, child->memory_size);
        child->memory = NULL;
}

/* No child of this process: only that it has ended can be seen, and its last report says how. */
static int wait_for_adopted(const struct sbx_child *child, int *ret_status, int flags) {
        struct pollfd end = { .fd = child->pidfd, .events = POLLIN };
        if (poll(&end, 1, flags & WNOHANG ? 0 : -1) <= 0)
                return -EAGAIN;
        *ret_status = SIGKILL;
        return 0;
}

#define FORKED_ONLY 0x40 /* PF_FORKNOEXEC of the kernel, in the flags that proc_pid_stat(5) has */

/* Of one that has ended and isn't reaped: whether it ever became a program. */
static int is_unborn(pid_t pid) {
        char path[32], text[1024];
        unsigned flags = 0;
        snprintf(path, sizeof path, "/proc/%d/stat", (int) pid);
        ssize_t n = read_text(AT_FDCWD, path, text, sizeof text);
        const char *name_end = n <= 0 ? NULL : strrchr(text, ')');
        if (name_end == NULL || sscanf(name_end + 1, " %*c %*d %*d %*d %*d %*d %u", &flags) != 1)
                return 0;
        return (flags & FORKED_ONLY) != 0;
}

static int wait_for_end(struct sbx_child *child, int *ret_status, int flags) {
        if (child->pidfd > 0)
                return wait_for_adopted(child, ret_status, flags);
        siginfo_t info = { 0 };
        struct rusage used;
        int r;
        int look = child->has_init ? 0 : WNOWAIT;
        do {
                r = CALL(SYS_waitid, P_PID, child->pid, &info, WEXITED | __WALL | look | flags, &used);
                if (r < 0 || info.si_pid == 0 || look == 0)
                        continue;
                child->unborn = info.si_code != CLD_EXITED && is_unborn(child->pid);
                look = 0;
                r = -EINTR;
        } while (r == -EINTR);
        if (r < 0)
                return r;
        if (info.si_pid == 0)
                return -EAGAIN;
        take_rusage(&child->usage, &used);
        *ret_status = info.si_code == CLD_EXITED ? info.si_status << 8 : info.si_status | (info.si_code == CLD_DUMPED ? 0x80 : 0);
        return 0;
}

static void take_control(struct sbx_child *child, struct msghdr *message) {
        for (struct cmsghdr *head = CMSG_FIRSTHDR(message); head != NULL; head = CMSG_NXTHDR(message, head)) {
                struct ucred from;
                if (head->cmsg_type == SCM_RIGHTS) {
                        close_fd(&child->terminal_fd);
                        memcpy(&child->terminal_fd, CMSG_DATA(head), sizeof(int));
                } else if (head->cmsg_type == SCM_CREDENTIALS) {
                        memcpy(&from, CMSG_DATA(head), sizeof from);
                        child->told_by = from.pid;
                }
        }
}

/* One report; the terminal's descriptor comes with a byte of its own. 0 at the end, or -errno. */
int child_report(struct sbx_child *child, struct report *ret_report) {
        union {
                struct cmsghdr head;
                char bytes[CMSG_SPACE(sizeof(int)) + CMSG_SPACE(sizeof(struct ucred))];
        } control;
        for (;;) {
                struct iovec data = { ret_report, sizeof *ret_report };
                struct msghdr message = { .msg_iov = &data, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof control };
                ssize_t n = recvmsg(child->status_fd, &message, MSG_CMSG_CLOEXEC);
                if (n < 0 && errno == ENOTSOCK)
                        n = read(child->status_fd, ret_report, sizeof *ret_report);
                if (n < 0 && (errno == EINTR || errno == ECONNRESET)) /* the latter once, where it died with something unread */
                        continue;
                if (n < 0)
                        return -errno;
                if (n > 0)
                        take_control(child, &message);
                if (n == sizeof *ret_report) {
                        if (ret_report->kind == REPORT_PAYLOAD && child->payload == 0)
                                child->payload = child->told_by;
                        return 1;
                }
                if (n != 1)
                        return 0;
        }
}

/* Killed by somebody or for want of memory: its status isn't the payload's. */
static const struct sbx_failure ended_early = { .stage = STAGE_SANDBOX, .error = ECANCELED, .detail = DETAIL_ENDED };

static struct sbx_failure unheard(int r) {
        return (struct sbx_failure) { .stage = STAGE_SANDBOX, .error = -r, .detail = DETAIL_UNHEARD };
}

void sbx_collect(struct sbx_child *child, int status, struct sbx_exit *ret_exit) {
        struct report report;
        struct sbx_exit end = { .status = status };
        int r;
        while ((r = child_report(child, &report)) > 0)
                if (report.kind == REPORT_STARTED)
                        child->started = 1;
                else if (report.kind == REPORT_ENDED) {
                        child->started = 1; /* though the word of its start was lost */
                        end.status = report.status;
                } else if (report.kind == REPORT_FAILED)
                        end.failure = report.failure;
        if (r < 0 && end.failure.stage == 0)
                end.failure = unheard(r);
        if ((child->unborn || (child->has_init && !child->started)) && end.failure.stage == 0)
                end.failure = ended_early;
        finish(child, &end);
        *ret_exit = end;
}

static void mark_moment(const struct sbx_launch *launch, uint32_t moment) {
        struct context c = { .launch = launch };
        mark(&c, 0, moment);
}

static int await_exec(const struct sbx_launch *launch, struct sbx_child *child, struct sbx_failure *ret_failure) {
        struct report report;
        int r, status;
        while ((r = child_report(child, &report)) > 0) {
                if (report.kind == REPORT_STARTED) {
                        child->started = 1;
                        return 0;
                }
                if (report.kind == REPORT_FAILED) {
                        *ret_failure = report.failure;
                        if (launch->attach == NULL)
                                wait_for_end(child, &status, 0);
                        cgroups_blame(&child->cgroups, ret_failure);
                        return -report.failure.error;
                }
        }
        /* Without an init the end of the channel is the program's start. */
        if (r >= 0 && !child->has_init)
                return 0;
        *ret_failure = r < 0 ? unheard(r) : ended_early;
        if (r < 0)
                child_signal(child, SIGKILL);
        if (launch->attach == NULL)
                wait_for_end(child, &status, 0);
        cgroups_blame(&child->cgroups, ret_failure);
        return r < 0 ? r : -ECANCELED;
}

int sbx_await_exec(const struct sbx_launch *launch, struct sbx_child *child, struct sbx_failure *ret_failure) {
        int r = await_exec(launch, child, ret_failure);
        restore_cpus(&child->cpus);
        if (r < 0 && launch->record != NULL) /* its name is free again */
                record_remove(launch->record);
        return r;
}

int sbx_reap(const struct sbx_launch *launch, struct sbx_child *child, struct sbx_exit *ret_exit) {
        int status;
        int r = wait_for_end(child, &status, WNOHANG);
        if (r < 0)
                return r;
        mark_moment(launch, MOMENT_REAPED);
        sbx_collect(child, status, ret_exit);
        return 0;
}

/* ---- The whole of it ---- */

static void hand_on(void *owner, int fd, uint32_t events) {
        struct supervision *s = owner;
        struct signalfd_siginfo info;
        (void) events;
        if (read(fd, &info, sizeof info) == sizeof info && info.ssi_signo != SIGCHLD)
                sbx_attend_signal(s, (int) info.ssi_signo);
}

static void leave_the_cpu(void *owner) {
        struct supervision *s = owner;
        restore_cpus(&s->child->cpus);
}

/* The turn is all that its end needs. */
static void look_again(void *owner, int fd, uint32_t events) {
        (void) owner;
        (void) fd;
        (void) events;
}

static int attend(struct supervision *s, struct sbx_exit *ret_exit) {
        uint64_t set = ~left_alone;
        cleanup_fd int signals = CALL(SYS_signalfd4, -1, &set, sizeof set, SFD_CLOEXEC | SFD_NONBLOCK);
        int r = signals < 0 ? signals : loop_add(&s->loop, signals, EPOLLIN, hand_on, s);
        if (r >= 0 && s->child->pidfd > 0)
                r = loop_add(&s->loop, s->child->pidfd, EPOLLIN, look_again, s);
        if (r >= 0 && s->child->cpus.size > 0)
                r = loop_at(&s->loop, loop_now() + SHORT_NS, leave_the_cpu, s);
        while (r >= 0 && (r = sbx_reap(s->launch, s->child, ret_exit)) == -EAGAIN)
                r = loop_turn(&s->loop, 1);
        loop_remove(&s->loop, signals);
        loop_remove(&s->loop, s->child->pidfd > 0 ? s->child->pidfd : -1);
        return r;
}

static int is_claimed(const struct sbx_launch *launch) {
        return launch->record != NULL && launch->record->directory_fd >= 0;
}

/* Until it has ended, or has lived longer than a moment: -EAGAIN, where it is to be recorded then. */
static int await_short(const struct sbx_launch *launch, struct sbx_child *child, struct sbx_exit *ret_exit) {
        uint64_t set = ~left_alone;
        int recordable = launch->record != NULL;
        if (child->service != NULL) /* what it says has to be heard, however short it lives */
                return -EAGAIN;
        for (;;) {
                int r = sbx_reap(launch, child, ret_exit);
                if (r != -EAGAIN || is_claimed(launch))
                        return r;
                long sig = wait_for_signal(&set, NULL, recordable || child->cpus.size > 0);
                if (sig > 0 && sig != SIGCHLD)
                        child_signal(child, (int) sig);
                if (sig > 0 || errno != EAGAIN)
                        continue;
                restore_cpus(&child->cpus);
                if (recordable)
                        return -EAGAIN;
        }
}

/* It can't be what was asked for: nothing of it goes on. */
static int give_up(struct sbx_child *child, struct sbx_failure failure, struct sbx_exit *ret_exit) {
        int status;
        child_signal(child, SIGKILL);
        wait_for_end(child, &status, 0);
        *ret_exit = (struct sbx_exit) { .failure = failure };
        return 0;
}

int sbx_supervise(const struct sbx_launch *launch, struct sbx_child *child, struct sbx_exit *ret_exit) {
        int error, was_claimed = is_claimed(launch);
        int r = await_short(launch, child, ret_exit);
        if (r != -EAGAIN) {
                if (r < 0)
                        r = give_up(child, unheard(r), ret_exit);
                if (was_claimed && r >= 0 && ret_exit->failure.stage == 0) { /* it has a name that others may know */
                        events_tell(launch, "started", "");
                        events_tell_end(launch, ret_exit);
                }
                if (was_claimed)
                        record_remove(launch->record);
                return r;
        }
        struct supervision *s = sbx_attend(launch, child, &error);
        if (s != NULL) {
                *ret_exit = (struct sbx_exit) { 0 };
                r = attend(s, ret_exit);
                if (r < 0 && child->pidfd > 0) /* it lives on, for the next to take over */
                        return r;
                if (r < 0)
                        r = give_up(child, unheard(r), ret_exit);
                sbx_attend_end(s, ret_exit);
                return r;
        }
        if (child->pidfd > 0)
                return error;
        if (was_claimed)
                return give_up(child, (struct sbx_failure) { .stage = STAGE_RECORD, .error = -error }, ret_exit);
        /* Nobody asked for it by name: it runs, and isn't listed. */
        struct sbx_launch unlisted = *launch;
        unlisted.record = NULL;
        r = await_short(&unlisted, child, ret_exit);
        return r < 0 ? give_up(child, unheard(r), ret_exit) : r;
}
