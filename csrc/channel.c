/* Descriptors over sockets. */
#include "context.h"
#include "sys.h"

#include <string.h>
#include <sys/socket.h>

ssize_t send_with_fds(int socket, const struct iovec *parts, size_t part_count, const int *fds, uint32_t count, int flags) {
        union {
                struct cmsghdr head;
                char bytes[CMSG_SPACE(CHANNEL_MAX_FDS * sizeof(int))];
        } control = { 0 };
        struct msghdr message = { .msg_iov = (struct iovec *) (uintptr_t) parts, .msg_iovlen = part_count, .msg_control = &control };
        if (count == 0 || count > CHANNEL_MAX_FDS) {
                errno = EINVAL;
                return -1;
        }
        message.msg_controllen = CMSG_SPACE(count * sizeof(int));
        control.head.cmsg_level = SOL_SOCKET;
        control.head.cmsg_type = SCM_RIGHTS;
        control.head.cmsg_len = CMSG_LEN(count * sizeof(int));
        memcpy(CMSG_DATA(&control.head), fds, count * sizeof(int));
        return sendmsg(socket, &message, MSG_NOSIGNAL | flags);
}

ssize_t send_with_fd(int socket, const void *data, size_t size, int fd) {
        struct iovec part = { (void *) (uintptr_t) data, size };
        return send_with_fds(socket, &part, 1, &fd, 1, MSG_DONTWAIT);
}

/* Of exactly one descriptor's length, without what would align it: there would be room for a second. */
ssize_t receive_with_fd(int socket, void *data, size_t size, int *ret_fd, int flags) {
        union {
                struct cmsghdr head;
                char bytes[CMSG_LEN(sizeof(int))];
        } control;
        struct iovec part = { data, size };
        struct msghdr message = { .msg_iov = &part, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = CMSG_LEN(sizeof(int)) };
        *ret_fd = -1;
        ssize_t n = recvmsg(socket, &message, MSG_CMSG_CLOEXEC | flags);
        const struct cmsghdr *head = n < 0 ? NULL : CMSG_FIRSTHDR(&message);
        if (head != NULL && head->cmsg_level == SOL_SOCKET && head->cmsg_type == SCM_RIGHTS)
                memcpy(ret_fd, CMSG_DATA(head), sizeof *ret_fd);
        return n;
}

int announce_by_signal(int fd) {
        int flags = fcntl(fd, F_GETFL);
        if (flags < 0 || fcntl(fd, F_SETOWN, getpid()) < 0)
                return -errno;
        return fcntl(fd, F_SETFL, flags | O_ASYNC) < 0 ? -errno : 0;
}
