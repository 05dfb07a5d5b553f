/* A served launch's last step: everything is built, and what runs comes over the channel.  In the sandbox, so
 * async-signal-safe calls only; in the payload's process, so that no other has what the caller hands over. */
#include "context.h"
#include "serve.h"
#include "sys.h"

#include <poll.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>

#define MAX_PASSED (CALL_MAX_DESCRIPTORS + 1)

struct received {
        int fds[MAX_PASSED];
        uint32_t count;
};

static int poll_channel(const struct context *c, int timeout) {
        struct pollfd channel = { .fd = c->status_fd, .events = POLLIN };
        int r;
        do
                r = poll(&channel, 1, timeout);
        while (r < 0 && errno == EINTR);
        return r;
}

/* Where the program waits for its call: in a sleep that doesn't count as load, as one in vfork would. */
void await_call(struct context *c) {
        struct report ready = { .kind = REPORT_READY };
        if (poll_channel(c, 0) != 0)
                return;
        int error = restore_cpus(&c->cpus);
        if (error < 0)
                report_and_exit(c, error);
        if (send(c->status_fd, &ready, sizeof ready, MSG_NOSIGNAL) < 0)
                _exit(125); /* nobody will call any more */
        poll_channel(c, -1);
}

static void *map(size_t size) {
        void *memory = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        return memory == MAP_FAILED ? NULL : memory;
}

static int take_descriptors(struct msghdr *message, struct received *ret) {
        struct cmsghdr *head = CMSG_FIRSTHDR(message);
        if (head != NULL && head->cmsg_level == SOL_SOCKET && head->cmsg_type == SCM_RIGHTS) {
                uint32_t count = (uint32_t) ((head->cmsg_len - CMSG_LEN(0)) / sizeof(int));
                if (count > MAX_PASSED) /* what aligns the buffer has room for one more */
                        return -EBADMSG;
                ret->count = count;
                memcpy(ret->fds, CMSG_DATA(head), ret->count * sizeof(int));
        }
        if (message->msg_flags & MSG_CTRUNC) /* RLIMIT_NOFILE, or somebody's policy */
                return -EMFILE;
        return message->msg_flags & MSG_TRUNC ? -EBADMSG : 0;
}

/* One message: into *ret_call with what follows it, and the descriptors.  Everything else of the caller's is closed
 * before, so that they find numbers below a low RLIMIT_NOFILE. */
static ssize_t receive_call(struct context *c, struct serve_call *ret_call, uint8_t *rest, struct received *ret) {
        union {
                struct cmsghdr head;
                char bytes[CMSG_SPACE(MAX_PASSED * sizeof(int))];
        } control;
        struct iovec data[] = { { ret_call, sizeof *ret_call }, { rest, CALL_MAX_MESSAGE } };
        struct msghdr message = { .msg_iov = data, .msg_iovlen = 2, .msg_control = &control, .msg_controllen = sizeof control };
        ssize_t n;
        do
                n = recvmsg(c->status_fd, &message, MSG_CMSG_CLOEXEC);
        while (n < 0 && errno == EINTR);
        if (n < 0)
                return -errno;
        if (n == 0) /* the caller has gone */
                _exit(125);
        int r = take_descriptors(&message, ret);
        return r < 0 ? r : n;
}

static int read_file(int fd, uint8_t *to, size_t size) {
        size_t done = 0;
        while (done < size) {
                ssize_t n = pread(fd, to + done, size - done, (off_t) done);
                if (n < 0 && errno == EINTR)
                        continue;
                if (n <= 0)
                        return n < 0 ? -errno : -EBADMSG;
                done += (size_t) n;
        }
        return 0;
}

static const char *next_string(const char **at, const char *end) {
        const char *text = *at;
        const char *nul = memchr(text, 0, (size_t) (end - text));
        if (nul == NULL)
                return NULL;
        *at = nul + 1;
        return text;
}

static int sets_same(const char *a, const char *b) {
        size_t n = strcspn(a, "=");
        return strncmp(a, b, n) == 0 && b[n] == '=';
}

/* A program that joins has the payload's variables, but for those that its call sets. */
static int add_to(struct context *c, char *const *before, uint32_t set) {
        size_t count = 0, at = 0;
        while (before[count] != NULL)
                count++;
        char **all = map((count + set + 1) * sizeof *all);
        if (all == NULL)
                return -ENOMEM;
        for (size_t i = 0; i < count; i++) {
                uint32_t n = 0;
                while (n < set && !sets_same(c->environment[n], before[i]))
                        n++;
                if (n == set)
                        all[at++] = before[i];
        }
        memcpy(all + at, c->environment, set * sizeof *all);
        c->environment = all;
        return 0;
}

/* The lists that execve takes, in memory that goes with the program's image. */
static int take_strings(struct context *c, const struct serve_call *call, const char *strings, const char **ret_cwd) {
        const char *at = strings, *end = strings + call->size;
        if (call->words == 0 || call->words > call->size || call->variables > call->size)
                return -EBADMSG;
        char **lists = map(((size_t) call->words + call->variables + 2) * sizeof *lists);
        if (lists == NULL)
                return -ENOMEM;
        *ret_cwd = call->size > 0 ? next_string(&at, end) : NULL;
        if (*ret_cwd == NULL)
                return -EBADMSG;
        char **before = c->environment;
        c->argv = lists;
        c->environment = lists + call->words + 1;
        for (uint32_t i = 0; i < call->words + call->variables; i++) {
                char *text = (char *) (uintptr_t) next_string(&at, end);
                if (text == NULL)
                        return -EBADMSG;
                if (i < call->words)
                        c->argv[i] = text;
                else
                        c->environment[i - call->words] = text;
        }
        if (at != end)
                return -EBADMSG;
        return c->launch->joined ? add_to(c, before, call->variables) : 0;
}

static int is_among(int fd, const int32_t *numbers, uint32_t count) {
        for (uint32_t i = 0; i < count; i++)
                if (numbers[i] == fd)
                        return 1;
        return 0;
}

/* Nothing that is still needed may have a number that something is put at. */
static int move_aside(int *fd, const int32_t *numbers, uint32_t count) {
        int from = 3, old = *fd;
        if (old < 0 || !is_among(old, numbers, count))
                return 0;
        for (;;) {
                int moved = fcntl(old, F_DUPFD_CLOEXEC, from);
                if (moved < 0)
                        return -errno;
                if (!is_among(moved, numbers, count)) {
                        *fd = moved;
                        close(old);
                        return 0;
                }
                close(moved);
                from = moved + 1;
        }
}

static int put_descriptor(struct context *c, int fd, int number) {
        struct stat st;
        c->at.detail = DETAIL_DESCRIPTOR | (uint32_t) number;
        if (fstat(fd, &st) < 0)
                return -errno;
        if (S_ISDIR(st.st_mode)) /* its parents would be in reach, past the new root */
                return -EISDIR;
        int r = dup2(fd, number) < 0 ? -errno : 0;
        if (r >= 0)
                c->at.detail = DETAIL_NONE;
        return r;
}

/* It is there until the program is: its end tells that execve has been done. */
#define WITNESS (-1)

static int put_descriptors(struct context *c, const int32_t *numbers, uint32_t count, struct received *passed) {
        for (uint32_t i = 0; i < count; i++)
                if (numbers[i] < WITNESS || numbers[i] >= 1 << 20)
                        return -EBADMSG;
        int r = move_aside(&c->status_fd, numbers, count);
        if (r >= 0)
                r = move_aside(&c->ruleset_fd, numbers, count);
        for (uint32_t i = 0; r >= 0 && i < count; i++)
                r = move_aside(&passed->fds[i], numbers, count);
        for (uint32_t i = 0; r >= 0 && i < count; i++)
                if (numbers[i] != WITNESS) {
                        r = put_descriptor(c, passed->fds[i], numbers[i]);
                        close(passed->fds[i]);
                }
        c->kept = numbers;
        c->kept_count = count;
        return r;
}

/* Everything of sbx's own but what the last ops need. */
static void close_unneeded(const struct context *c) {
        int low = c->status_fd < c->ruleset_fd ? c->status_fd : c->ruleset_fd;
        int high = c->status_fd < c->ruleset_fd ? c->ruleset_fd : c->status_fd;
        if (low > 3)
                sys_close_range(3, (unsigned) low - 1, 0);
        if (high > low + 1)
                sys_close_range(low < 3 ? 3 : (unsigned) low + 1, (unsigned) high - 1, 0);
        sys_close_range((unsigned) high + 1, ~0u, 0);
}

/* Who has called may try another sandbox where this one is killed without a word, but not once its program may have
 * begun: nothing runs before that is told. */
static int tell_taken(const struct context *c) {
        struct report taken = { .kind = REPORT_TAKEN };
        if (c->launch->joined)
                return 0;
        if (c->status_fd < 0)
                return -EBADF;
        return send(c->status_fd, &taken, sizeof taken, MSG_NOSIGNAL) < 0 ? -errno : 0;
}

int take_call(struct context *c) {
        struct serve_call call = { 0 };
        struct received passed = { 0 };
        const char *cwd = NULL;
        uint8_t *rest = map(CALL_MAX_MESSAGE);
        if (rest == NULL)
                return -ENOMEM;
        if (!c->has_init)
                await_call(c);
        close_unneeded(c);
        ssize_t n = receive_call(c, &call, rest, &passed);
        if (n < 0)
                return (int) n;
        size_t numbers = call.descriptors * sizeof(int32_t);
        if ((size_t) n < sizeof call || call.magic != CALL_MAGIC || call.descriptors > CALL_MAX_DESCRIPTORS ||
            passed.count != call.descriptors + (call.in_file ? 1 : 0) || call.size > CALL_MAX_SIZE ||
            (size_t) n != sizeof call + numbers + (call.in_file ? 0 : call.size))
                return -EBADMSG;
        const uint8_t *strings = rest + numbers;
        if (call.in_file) {
                uint8_t *memory = map(call.size + 1u);
                int r = memory == NULL ? -ENOMEM : read_file(passed.fds[0], memory, call.size);
                if (r < 0)
                        return r;
                close(passed.fds[0]);
                memmove(passed.fds, passed.fds + 1, call.descriptors * sizeof(int));
                strings = memory;
        }
        int r = take_strings(c, &call, (const char *) strings, &cwd);
        if (r < 0)
                return r;
        r = put_descriptors(c, (const int32_t *) rest, call.descriptors, &passed);
        if (r >= 0 && *cwd != 0)
                r = enter_directory(cwd);
        return r < 0 ? r : tell_taken(c);
}
