/* `sbx _serve`: starts sandboxes for a program that uses the library, and reaps them.
 *
 * The program could do so itself, but a process of it would be a copy of all its memory, secrets included; its size
 * would slow each start; and the signal of the parent's death would come when the thread that started it ends.  This
 * process has one thread, little memory, and ends when the program does. */
#include "serve.h"
#include "cgroup.h"
#include "context.h"
#include "sys.h"

#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>

struct kept_plan {
        uint64_t number;
        void *memory;
        size_t size;
        struct plan plan;
};

struct sandbox {
        pid_t pid;     /* of its first process; 0: it isn't started yet */
        int channel;
        int killed;    /* the program has let go of it */
        uint64_t plan; /* until it is started: of which plan, and when */
        int64_t due_ms;
        struct sbx_cgroups *cgroups; /* NULL: it has none */
};

struct server {
        int control, parent, signals;
        struct sbx_words words;
        uid_t uid;
        struct kept_plan *plans;
        size_t plan_count;
        struct sandbox *sandboxes;
        int *private_fds; /* what a new sandbox is to close: all channels, and the server's own */
        struct pollfd *watched;
        uint32_t count, room;
};

#define OWN_DESCRIPTORS 3
#define LATER_MS 4

static int make_room(struct server *s) {
        if (s->count < s->room)
                return 0;
        uint32_t room = s->room == 0 ? 16 : s->room * 2;
        struct sandbox *sandboxes = realloc(s->sandboxes, room * sizeof *sandboxes);
        if (sandboxes == NULL)
                return -ENOMEM;
        s->sandboxes = sandboxes;
        int *private_fds = realloc(s->private_fds, (room + OWN_DESCRIPTORS) * sizeof *private_fds);
        if (private_fds == NULL)
                return -ENOMEM;
        s->private_fds = private_fds;
        struct pollfd *watched = realloc(s->watched, (room + OWN_DESCRIPTORS) * sizeof *watched);
        if (watched == NULL)
                return -ENOMEM;
        s->watched = watched;
        s->room = room;
        return 0;
}

/* ---- Requests ---- */

static struct kept_plan *find_plan(struct server *s, uint64_t number) {
        for (size_t i = 0; i < s->plan_count; i++)
                if (s->plans[i].number == number)
                        return &s->plans[i];
        return NULL;
}

/* A copy of one's own: whoever holds the file may still write to it. */
static void keep_plan(struct server *s, uint64_t number, int fd) {
        struct kept_plan kept = { .number = number };
        struct stat st;
        if (find_plan(s, number) != NULL || fstat(fd, &st) < 0 || st.st_size <= 0 || st.st_size > PLAN_MAX_SIZE)
                return;
        kept.size = (size_t) st.st_size;
        kept.memory = mmap(NULL, kept.size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        if (kept.memory == MAP_FAILED)
                return;
        struct kept_plan *plans = NULL;
        if (pread(fd, kept.memory, kept.size, 0) == (ssize_t) kept.size && plan_open(kept.memory, kept.size, &kept.plan) >= 0)
                plans = realloc(s->plans, (s->plan_count + 1) * sizeof *plans);
        if (plans == NULL) {
                munmap(kept.memory, kept.size);
                return;
        }
        s->plans = plans;
        s->plans[s->plan_count++] = kept;
}

static void forget_plan(struct server *s, uint64_t number) {
        struct kept_plan *kept = find_plan(s, number);
        if (kept == NULL)
                return;
        munmap(kept->memory, kept->size);
        *kept = s->plans[--s->plan_count];
}

static void report_failure(int channel, const struct sbx_failure *failure) {
        struct report report = { .kind = REPORT_FAILED, .failure = *failure };
        send(channel, &report, sizeof report, MSG_NOSIGNAL | MSG_DONTWAIT);
}

static void report_launch(int channel, pid_t pid) {
        struct report report = { .kind = REPORT_LAUNCHED, .status = pid };
        cleanup_fd int pidfd = CALL(SYS_pidfd_open, pid, 0);
        if (pidfd < 0) {
                kill(pid, SIGKILL); /* nobody could wait for it or end it */
                return;
        }
        if (send_with_fd(channel, &report, sizeof report, pidfd) < 0)
                kill(pid, SIGKILL); /* whoever asked for it has gone */
}

static uint32_t list_private_fds(struct server *s) {
        int own[OWN_DESCRIPTORS] = { s->control, s->parent, s->signals };
        uint32_t n = 0;
        for (; n < OWN_DESCRIPTORS; n++)
                s->private_fds[n] = own[n];
        for (uint32_t i = 0; i < s->count; i++)
                s->private_fds[n++] = s->sandboxes[i].channel;
        return n;
}

/* They last as long as it does, and the rest of what it was started with doesn't.  Without the memory for that they
 * are released with it, which kills it. */
static struct sbx_cgroups *take_cgroups(struct sbx_child *child) {
        struct sbx_cgroups *cgroups = child->cgroups.count == 0 ? NULL : malloc(sizeof *cgroups);
        if (cgroups != NULL) {
                *cgroups = child->cgroups;
                child->cgroups.count = 0;
        }
        return cgroups;
}

static void give_up_cgroups(struct sandbox *sandbox) {
        if (sandbox->cgroups != NULL)
                cgroups_remove(sandbox->cgroups);
        free(sandbox->cgroups);
        sandbox->cgroups = NULL;
}

static void remove_sandbox(struct server *s, uint32_t index) {
        give_up_cgroups(&s->sandboxes[index]);
        close_fd(&s->sandboxes[index].channel);
        s->sandboxes[index] = s->sandboxes[--s->count];
}

/* Its channel is among those that it closes: what it keeps is a copy. */
static void start_sandbox(struct server *s, uint32_t index) {
        struct sandbox *sandbox = &s->sandboxes[index];
        struct sbx_failure failure = { .stage = STAGE_PREPARE, .error = EBADMSG };
        struct sbx_child child;
        struct kept_plan *kept = find_plan(s, sandbox->plan);
        if (kept == NULL) {
                report_failure(sandbox->channel, &failure);
                remove_sandbox(s, index);
                return;
        }
        struct sbx_launch launch = {
                .plan = &kept->plan,
                .words = s->words,
                .served = 1,
                .channel = sandbox->channel,
                .private_fds = s->private_fds,
                .private_count = list_private_fds(s),
        };
        if (sbx_start(&launch, &child, &failure) < 0) {
                report_failure(sandbox->channel, &failure);
                remove_sandbox(s, index);
                return;
        }
        report_launch(sandbox->channel, child.pid);
        sandbox->cgroups = take_cgroups(&child);
        sbx_release(&child);
        sandbox->pid = child.pid;
}

static int64_t now_ms(void) {
        struct timespec now;
        clock_gettime(CLOCK_MONOTONIC, &now);
        return now.tv_sec * 1000ll + now.tv_nsec / 1000000;
}

static void add_sandbox(struct server *s, uint64_t plan, int channel, int later) {
        if (make_room(s) < 0) {
                close(channel);
                return;
        }
        int64_t due = later ? now_ms() + LATER_MS : 0;
        s->sandboxes[s->count++] = (struct sandbox) { .channel = channel, .plan = plan, .due_ms = due };
        if (!later)
                start_sandbox(s, s->count - 1);
}

/* How long the next one that is to be started later can wait; -1: there is none. */
static int until_due(const struct server *s) {
        int64_t now = 0, least = -1;
        for (uint32_t i = 0; i < s->count; i++)
                if (s->sandboxes[i].pid == 0) {
                        now = now != 0 ? now : now_ms();
                        int64_t left = s->sandboxes[i].due_ms > now ? s->sandboxes[i].due_ms - now : 0;
                        least = least < 0 || left < least ? left : least;
                }
        return (int) least;
}

/* One at a time: requests and ends come first. */
static void start_one_that_is_due(struct server *s) {
        for (uint32_t i = 0; i < s->count; i++)
                if (s->sandboxes[i].pid == 0 && s->sandboxes[i].due_ms <= now_ms()) {
                        start_sandbox(s, i);
                        return;
                }
}

struct message {
        struct serve_request request;
        int fd;
        int trusted;
};

/* The first descriptor; there is room for more than one, since that of the credentials may be left over. */
static int take_descriptor(const struct cmsghdr *head) {
        size_t count = (head->cmsg_len - CMSG_LEN(0)) / sizeof(int);
        int first = -1;
        for (size_t i = 0; i < count; i++) {
                int fd;
                memcpy(&fd, CMSG_DATA(head) + i * sizeof fd, sizeof fd);
                if (first < 0)
                        first = fd;
                else
                        close(fd);
        }
        return first;
}

/* A descriptor and the sender's credentials; 0 at the end. */
static ssize_t receive(const struct server *s, struct message *ret) {
        union {
                struct cmsghdr head;
                char bytes[CMSG_SPACE(sizeof(int)) + CMSG_SPACE(sizeof(struct ucred))];
        } control;
        struct iovec data = { &ret->request, sizeof ret->request };
        struct msghdr message = { .msg_iov = &data, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof control };
        ssize_t n;
        ret->fd = -1;
        ret->trusted = 0;
        do
                n = recvmsg(s->control, &message, MSG_CMSG_CLOEXEC);
        while (n < 0 && errno == EINTR);
        for (struct cmsghdr *head = n < 0 ? NULL : CMSG_FIRSTHDR(&message); head != NULL; head = CMSG_NXTHDR(&message, head))
                if (head->cmsg_type == SCM_RIGHTS)
                        ret->fd = take_descriptor(head);
                else if (head->cmsg_type == SCM_CREDENTIALS) {
                        struct ucred sender;
                        memcpy(&sender, CMSG_DATA(head), sizeof sender);
                        ret->trusted = sender.uid == s->uid;
                }
        return n;
}

/* The program has ended. Most sandboxes would see it by the signal of their parent's death; a profile may say no. */
static void end_all(const struct server *s) __attribute__((noreturn));
static void end_all(const struct server *s) {
        for (uint32_t i = 0; i < s->count; i++)
                if (s->sandboxes[i].pid > 0)
                        kill(s->sandboxes[i].pid, SIGKILL);
        for (uint32_t i = 0; i < s->count; i++)
                if (s->sandboxes[i].cgroups != NULL) {
                        waitpid(s->sandboxes[i].pid, NULL, __WALL);
                        give_up_cgroups(&s->sandboxes[i]);
                }
        exit(0);
}

/* A program that has given up its user id since may not use ours any more. */
static void serve_request(struct server *s) {
        struct message message;
        ssize_t n = receive(s, &message);
        if (n == 0)
                end_all(s);
        if (n != sizeof message.request || !message.trusted || message.request.version != SERVE_VERSION)
                close_fd(&message.fd);
        else if ((message.request.kind == SERVE_START || message.request.kind == SERVE_START_LATER) && message.fd >= 0)
                add_sandbox(s, message.request.plan, take_fd(&message.fd), message.request.kind == SERVE_START_LATER);
        else if (message.request.kind == SERVE_KEEP)
                keep_plan(s, message.request.plan, message.fd);
        else if (message.request.kind == SERVE_FORGET)
                forget_plan(s, message.request.plan);
        close_fd(&message.fd);
}

/* ---- Ends ---- */

static void report_end(struct server *s, pid_t pid, int status, const struct rusage *usage) {
        struct serve_end end = end_of(REPORT_REAPED, status, usage);
        for (uint32_t i = 0; i < s->count; i++)
                if (s->sandboxes[i].pid == pid) {
                        if (s->sandboxes[i].cgroups != NULL)
                                cgroups_measure(s->sandboxes[i].cgroups, &end.counted);
                        send(s->sandboxes[i].channel, &end, sizeof end, MSG_NOSIGNAL | MSG_DONTWAIT);
                        remove_sandbox(s, i);
                        return;
                }
}

static void reap_all(struct server *s) {
        struct signalfd_siginfo info;
        struct rusage usage;
        int status;
        pid_t pid;
        while (read(s->signals, &info, sizeof info) > 0)
                ;
        while ((pid = wait4(-1, &status, WNOHANG | __WALL, &usage)) > 0)
                report_end(s, pid, status, &usage);
}

/* Whom the program asks to be ended by shutting its channel, or can't end any more, is ended here. */
static void kill_abandoned(struct server *s) {
        for (uint32_t i = s->count; i-- > 0;) /* removing one puts the last, which was looked at, in its place */
                if (s->watched[OWN_DESCRIPTORS + i].revents == 0)
                        continue;
                else if (s->sandboxes[i].pid == 0)
                        remove_sandbox(s, i);
                else {
                        kill(s->sandboxes[i].pid, SIGKILL);
                        s->sandboxes[i].killed = 1;
                }
}

/* ---- The process ---- */

static int prepare_server(struct server *s) {
        struct ucred program;
        socklen_t size = sizeof program;
        sigset_t child;
        uint64_t mask;
        int on = 1;
        s->uid = getuid(); /* as the kernel states it with each message */
        if (getsockopt(s->control, SOL_SOCKET, SO_PEERCRED, &program, &size) < 0)
                return -1;
        s->parent = CALL(SYS_pidfd_open, program.pid, 0);
        if (s->parent < 0 || getppid() != program.pid || setsockopt(s->control, SOL_SOCKET, SO_PASSCRED, &on, sizeof on) < 0)
                return -1;
        sbx_block_signals(&mask);
        sigemptyset(&child);
        sigaddset(&child, SIGCHLD);
        s->signals = signalfd(-1, &child, SFD_CLOEXEC | SFD_NONBLOCK);
        return s->signals;
}

int serve(int control, struct sbx_words words) {
        struct server s = { .control = control, .words = words, .parent = -1, .signals = -1 };
        if (control < 3)
                return 125;
        sys_close_range(3, (unsigned) control - 1, 0);
        sys_close_range((unsigned) control + 1, ~0u, 0);
        if (chdir("/") < 0 || fcntl(control, F_SETFD, FD_CLOEXEC) < 0 || prepare_server(&s) < 0)
                return 125;
        if (write(control, &(struct serve_request) { .version = SERVE_VERSION }, sizeof(struct serve_request)) < 0)
                return 125;
        for (;;) {
                if (make_room(&s) < 0)
                        exit(125);
                s.watched[0] = (struct pollfd) { .fd = s.control, .events = POLLIN };
                s.watched[1] = (struct pollfd) { .fd = s.parent, .events = POLLIN };
                s.watched[2] = (struct pollfd) { .fd = s.signals, .events = POLLIN };
                for (uint32_t i = 0; i < s.count; i++)
                        s.watched[OWN_DESCRIPTORS + i] = (struct pollfd) { .fd = s.sandboxes[i].killed ? -1 : s.sandboxes[i].channel, .events = POLLRDHUP };
                if (poll(s.watched, OWN_DESCRIPTORS + s.count, until_due(&s)) < 0) {
                        if (errno != EINTR)
                                exit(125);
                        continue;
                }
                if (s.watched[1].revents != 0)
                        end_all(&s);
                kill_abandoned(&s);
                if (s.watched[2].revents != 0)
                        reap_all(&s);
                if (s.watched[0].revents != 0)
                        serve_request(&s);
                else
                        start_one_that_is_due(&s);
        }
}
