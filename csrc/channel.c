/* Descriptors over sockets. */
#include "context.h"

#include <string.h>
#include <sys/socket.h>

ssize_t send_with_fd(int socket, const void *data, size_t size, int fd) {
        union {
                struct cmsghdr head;
                char bytes[CMSG_SPACE(sizeof(int))];
        } control = { 0 };
        struct iovec part = { (void *) data, size };
        struct msghdr message = { .msg_iov = &part, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof control };
        control.head.cmsg_level = SOL_SOCKET;
        control.head.cmsg_type = SCM_RIGHTS;
        control.head.cmsg_len = CMSG_LEN(sizeof(int));
        memcpy(CMSG_DATA(&control.head), &fd, sizeof fd);
        return sendmsg(socket, &message, MSG_NOSIGNAL | MSG_DONTWAIT);
}
