/* The network: families of sockets, the host's addresses, its local sockets, what netlink tells. */
#include "probe.h"

#include <arpa/inet.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <net/if.h>
#include <poll.h>
#include <stdint.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <unistd.h>

#define FAMILIES 48
#define TYPES 10
#define WAIT 500 /* ms for the answer of a server on this machine */

/* ---- Families ---- */

/* What any program may have: local sockets, the internet, and routes by netlink. */
static int is_usual(int family, int type) {
        return family == AF_UNIX || (family == AF_NETLINK && type != SOCK_PACKET) ||
               ((family == AF_INET || family == AF_INET6) && type != SOCK_RAW && type != SOCK_PACKET);
}

/* Sockets of every family and type but the usual ones, with whatever is above the bits that the kernel reads. */
static long odd_sockets(char **a) {
        unsigned long high = number(a[0]) << 32;
        int found = 0, error = EAFNOSUPPORT;
        for (int family = 0; family < FAMILIES; family++)
                for (int type = 1; type <= TYPES; type++) {
                        if (is_usual(family, type))
                                continue;
                        long fd = syscall(SYS_socket, high | (unsigned) family, (long) type, 0l);
                        if (fd >= 0) {
                                say("%s%d/%d", found++ ? " " : "", family, type);
                                close((int) fd);
                        } else if (errno != EAFNOSUPPORT && errno != ESOCKTNOSUPPORT && errno != EPROTONOSUPPORT && errno != EINVAL)
                                error = errno;
                }
        return found ? 0 : failed(error);
}

static long one_socket(char **a) {
        return socket((int) number(a[0]), (int) number(a[1]), (int) number(a[2]));
}

static long socket_pair(char **a) {
        int pair[2];
        return socketpair((int) number(a[0]), (int) number(a[1]), 0, pair);
}

/* ---- Addresses ---- */

static socklen_t address_of(struct sockaddr_storage *ret, const char *host, const char *port) {
        struct sockaddr_in in = { .sin_family = AF_INET, .sin_port = htons((uint16_t) number(port)) };
        struct sockaddr_in6 in6 = { .sin6_family = AF_INET6, .sin6_port = htons((uint16_t) number(port)) };
        memset(ret, 0, sizeof *ret);
        if (inet_pton(AF_INET, host, &in.sin_addr) == 1) {
                memcpy(ret, &in, sizeof in);
                return sizeof in;
        }
        if (inet_pton(AF_INET6, host, &in6.sin6_addr) == 1) {
                memcpy(ret, &in6, sizeof in6);
                return sizeof in6;
        }
        return 0;
}

#define PATIENCE 5 /* seconds for an answer */

static long tcp(char **a) {
        struct sockaddr_storage to;
        socklen_t n = address_of(&to, a[0], a[1]);
        struct timeval patience = { .tv_sec = PATIENCE };
        int fd = socket(to.ss_family, SOCK_STREAM, 0);
        if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof patience) < 0)
                return -1;
        if (connect(fd, (struct sockaddr *) &to, n) == 0)
                return 0;
        /* Where packets are dropped there is no answer: connect(2) gives up with EINPROGRESS. */
        return errno == EINPROGRESS ? failed(ETIMEDOUT) : -1;
}

/* A datagram and the answer to it: that one was sent into nothing is no success. */
static long udp(char **a) {
        char answer[16];
        struct sockaddr_storage to;
        socklen_t n = address_of(&to, a[0], a[1]);
        int fd = socket(to.ss_family, SOCK_DGRAM, 0);
        if (fd < 0 || connect(fd, (struct sockaddr *) &to, n) < 0 || send(fd, "?", 1, 0) < 0)
                return -1;
        struct pollfd wait = { .fd = fd, .events = POLLIN };
        if (poll(&wait, 1, WAIT) == 0)
                return failed(ETIMEDOUT);
        return recv(fd, answer, sizeof answer, 0);
}

/* ---- Sockets of the machine ---- */

/* A path, or a name with @ before it: "stream" or "dgram". */
static long local(char **a) {
        struct sockaddr_un to = { .sun_family = AF_UNIX };
        size_t n = strlen(a[0]);
        int type = strcmp(a[1], "dgram") == 0 ? SOCK_DGRAM : SOCK_STREAM;
        if (n >= sizeof to.sun_path)
                return failed(ENAMETOOLONG);
        memcpy(to.sun_path, a[0], n);
        if (to.sun_path[0] == '@')
                to.sun_path[0] = 0;
        socklen_t length = (socklen_t) (offsetof(struct sockaddr_un, sun_path) + n);
        int fd = socket(AF_UNIX, type, 0);
        if (fd < 0 || type == SOCK_STREAM)
                return fd < 0 ? fd : connect(fd, (struct sockaddr *) &to, length);
        return sendto(fd, "?", 1, 0, (struct sockaddr *) &to, length);
}

/* ---- netlink ---- */

/* Whether the kernel tells of an interface other than the loopback. */
static long interfaces(char **a) {
        struct if_nameindex *all = if_nameindex();
        int found = 0;
        (void) a;
        if (all == NULL)
                return -1;
        for (struct if_nameindex *i = all; i->if_index != 0; i++)
                if (strcmp(i->if_name, "lo") != 0)
                        say("%s%s", found++ ? " " : "", i->if_name);
        return found ? 0 : nothing();
}

/* A second address for the loopback: who may set one up owns the namespace. */
static long add_address(char **a) {
        struct {
                struct nlmsghdr head;
                struct ifaddrmsg message;
                struct rtattr attribute;
                struct in_addr address;
        } request = { .head = { sizeof request, RTM_NEWADDR, NLM_F_REQUEST | NLM_F_ACK | NLM_F_CREATE, 1, 0 },
                      .message = { AF_INET, 32, 0, 0, 1 },
                      .attribute = { sizeof request.attribute + sizeof request.address, IFA_LOCAL } };
        struct { struct nlmsghdr head; struct nlmsgerr error; char rest[256]; } answer;
        inet_pton(AF_INET, a[0], &request.address);
        int fd = socket(AF_NETLINK, SOCK_RAW, NETLINK_ROUTE);
        if (fd < 0 || send(fd, &request, sizeof request, 0) < 0 || recv(fd, &answer, sizeof answer, 0) < 0)
                return -1;
        return answer.error.error ? failed(-answer.error.error) : 0;
}

const struct verb network_verbs[] = {
        { "odd-sockets", odd_sockets, 1 }, { "socket", one_socket, 3 }, { "socket-pair", socket_pair, 2 },
        { "tcp", tcp, 2 },                 { "udp", udp, 2 },           { "local", local, 2 },
        { "interfaces", interfaces, 0 },   { "add-address", add_address, 1 },
        END_OF_VERBS,
};
