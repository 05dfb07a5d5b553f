/* The init's part of `sbx exec`. */
#include "joined.h"
#include "control.h"
#include "serve.h"
#include "sys.h"

#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>

void joined_prepare(struct joined *j, const struct plan_record *from, uint32_t index) {
        j->from = from;
        j->index = index;
        for (uint32_t i = 0; i < JOINED_MAX; i++)
                j->programs[i].fd = -1;
}

void joined_listen(const struct context *c) {
        announce_by_signal(c->status_fd);
}

/* ---- In the new process ---- */

/* Nothing that is opened on the way may take the number of a standard stream that the call brings. */
static int hold_standard_streams(int *connection, int *ruleset) {
        int moved = fcntl(*connection, F_DUPFD_CLOEXEC, 3);
        if (moved < 0)
                return -errno;
        *connection = moved;
        if (*ruleset >= 0) {
                moved = fcntl(*ruleset, F_DUPFD_CLOEXEC, 3);
                if (moved < 0)
                        return -errno;
                *ruleset = moved;
        }
        int nothing = eventfd(0, EFD_CLOEXEC);
        if (nothing < 0)
                return -errno;
        for (int fd = 0; fd < 3; fd++)
                if (fd != nothing && dup2(nothing, fd) < 0)
                        return -errno;
        return 0;
}

static void joined_process(const struct joined *j, struct context *c, int connection, const struct control_request *request) __attribute__((noreturn));
static void joined_process(const struct joined *j, struct context *c, int connection, const struct control_request *request) {
        struct sbx_launch launch = *c->launch;
        launch.served = launch.joined = 1;
        launch.terminal = (uint32_t) request->value & CONTROL_TERMINAL;
        launch.window = request->window;
        launch.probes = (uint32_t) request->value & CONTROL_PROBE;
        launch.timing = NULL;
        c->launch = &launch;
        c->status_fd = connection;
        c->kept_count = 0;
        c->at = (struct sbx_failure) { .stage = STAGE_PAYLOAD, .op = j->index };
        int error = unblock_signals();
        if (error >= 0)
                error = hold_standard_streams(&c->status_fd, &c->ruleset_fd);
        if (error >= 0)
                error = run_ops(c, plan_next(j->from), j->index + 1);
        report_and_exit(c, error);
}

/* ---- In the init ---- */

static void refuse(int connection, int error) {
        struct report report = { .kind = REPORT_FAILED, .failure = { .stage = STAGE_PAYLOAD, .error = error } };
        send(connection, &report, sizeof report, MSG_NOSIGNAL | MSG_DONTWAIT);
}

static int free_place(const struct joined *j) {
        for (uint32_t i = 0; i < JOINED_MAX; i++)
                if (j->programs[i].fd < 0)
                        return (int) i;
        return -EMFILE;
}

/* Not as vfork: the one that asks may be slow to say what it wants, and the init has to go on. */
static void start_program(struct joined *j, struct context *c, int connection) {
        struct control_request request;
        struct report report = { .kind = REPORT_LAUNCHED };
        ssize_t n = recv(connection, &request, sizeof request, MSG_DONTWAIT);
        if (n != sizeof request || request.version != CONTROL_VERSION || request.verb != CONTROL_EXEC || (request.value & ~(uint64_t) (CONTROL_TERMINAL | CONTROL_PROBE)) != 0)
                return;
        int place = free_place(j);
        int pid = place < 0 ? place : CALL(SYS_clone, (long) SIGCHLD, 0, 0, 0, 0);
        if (pid == 0)
                joined_process(j, c, connection, &request);
        if (pid < 0) {
                refuse(connection, -pid);
                return;
        }
        cleanup_fd int pidfd = CALL(SYS_pidfd_open, pid, 0);
        report.status = pid;
        if (pidfd < 0 || send_with_fd(connection, &report, sizeof report, pidfd) < 0) {
                kill(pid, SIGKILL);
                return;
        }
        announce_by_signal(connection);
        j->programs[place].pid = pid;
        j->programs[place].fd = fcntl(connection, F_DUPFD_CLOEXEC, 3);
        if (j->programs[place].fd < 0)
                kill(pid, SIGKILL); /* nobody would be told of its end */
}

static int take_connection(const struct context *c) {
        struct report report;
        cleanup_fd int fd = -1;
        ssize_t n = receive_with_fd(c->status_fd, &report, sizeof report, &fd, MSG_DONTWAIT);
        if (n < 0)
                return -errno;
        if (n != sizeof report || report.kind != REPORT_CALLER || fd < 0)
                return n == 0 ? -EPIPE : -EBADMSG;
        return take_fd(&fd);
}

static int has_hung_up(int fd) {
        char byte;
        ssize_t n = recv(fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT);
        return n == 0 || (n < 0 && errno != EAGAIN && errno != EINTR); /* ECONNRESET: it hadn't read all */
}

void joined_serve(struct joined *j, struct context *c) {
        for (;;) {
                cleanup_fd int connection = take_connection(c);
                if (connection == -EBADMSG)
                        continue;
                if (connection < 0)
                        break;
                start_program(j, c, connection);
        }
        for (uint32_t i = 0; i < JOINED_MAX; i++)
                if (j->programs[i].fd >= 0 && has_hung_up(j->programs[i].fd))
                        kill(j->programs[i].pid, SIGKILL);
}

void joined_ended(struct joined *j, pid_t pid, int status, const struct rusage *usage) {
        for (uint32_t i = 0; i < JOINED_MAX; i++) {
                if (j->programs[i].fd < 0 || j->programs[i].pid != pid)
                        continue;
                struct serve_end end = end_of(REPORT_ENDED, status, usage);
                send(j->programs[i].fd, &end, sizeof end, MSG_NOSIGNAL | MSG_DONTWAIT);
                close_fd(&j->programs[i].fd);
        }
}
