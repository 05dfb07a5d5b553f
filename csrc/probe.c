/* Connects, and for HTTP asks once.  Carried out in place of execve, under all that the payload is under. */
#include "probe.h"
#include "sys.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>

#define HEAD_MAX 4096 /* bytes in which a status line has to be whole */

union address {
        struct sockaddr any;
        struct sockaddr_in in;
        struct sockaddr_in6 in6;
        struct sockaddr_un un;
};

static void tell_and_exit(uint32_t step, int error, uint32_t status) __attribute__((noreturn));
static void tell_and_exit(uint32_t step, int error, uint32_t status) {
        struct probe_result result = { .step = step, .error = error, .status = status };
        ssize_t n = write(1, &result, sizeof result);
        (void) n;
        _exit(1);
}

static uint16_t port_of(const char *text) {
        uint32_t port = 0;
        for (; *text >= '0' && *text <= '9' && port < 65536; text++)
                port = port * 10 + (uint32_t) (*text - '0');
        return htons((uint16_t) port);
}

static socklen_t address_of(const char *host, const char *port, union address *ret) {
        memset(ret, 0, sizeof *ret);
        if (inet_pton(AF_INET, host, &ret->in.sin_addr) == 1) {
                ret->in.sin_family = AF_INET;
                ret->in.sin_port = port_of(port);
                return sizeof ret->in;
        }
        if (inet_pton(AF_INET6, host, &ret->in6.sin6_addr) == 1) {
                ret->in6.sin6_family = AF_INET6;
                ret->in6.sin6_port = port_of(port);
                return sizeof ret->in6;
        }
        return 0;
}

static socklen_t address_of_file(const char *path, union address *ret) {
        size_t n = strlen(path);
        memset(ret, 0, sizeof *ret);
        if (n == 0 || n >= sizeof ret->un.sun_path)
                return 0;
        ret->un.sun_family = AF_UNIX;
        memcpy(ret->un.sun_path, path, n + 1);
        return (socklen_t) (offsetof(struct sockaddr_un, sun_path) + n + 1);
}

static int connect_to(const union address *address, socklen_t size) {
        if (size == 0)
                tell_and_exit(PROBE_WORDS, 0, 0);
        int fd = CALL(SYS_socket, address->any.sa_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
        if (fd < 0)
                tell_and_exit(PROBE_SOCKET, -fd, 0);
        int r = CALL(SYS_connect, fd, address, size);
        if (r < 0)
                tell_and_exit(PROBE_CONNECT, -r, 0);
        return fd;
}

static void send_all(int fd, const char *text) {
        for (size_t left = strlen(text); left > 0;) {
                ssize_t n = write(fd, text, left);
                if (n < 0)
                        tell_and_exit(PROBE_SEND, errno, 0);
                text += n;
                left -= (size_t) n;
        }
}

static int is_digit(char c) {
        return c >= '0' && c <= '9';
}

/* "HTTP/1.1 204 ": the rest of the answer isn't looked at. */
static uint32_t status_in(const char *head, size_t size) {
        if (size < 13 || memcmp(head, "HTTP/1.", 7) != 0 || !is_digit(head[7]) || head[8] != ' ' || !is_digit(head[9]) ||
            !is_digit(head[10]) || !is_digit(head[11]) || (head[12] != ' ' && head[12] != '\r' && head[12] != '\n'))
                return 0;
        return (uint32_t) ((head[9] - '0') * 100 + (head[10] - '0') * 10 + head[11] - '0');
}

static void ask(int fd, const char *request) {
        char head[HEAD_MAX];
        size_t size = 0;
        send_all(fd, request);
        while (size < 13) {
                ssize_t n = read(fd, head + size, sizeof head - size);
                if (n <= 0)
                        tell_and_exit(PROBE_ANSWER, n < 0 ? errno : 0, 0);
                size += (size_t) n;
        }
        uint32_t status = status_in(head, size);
        if (status < 200 || status > 399)
                tell_and_exit(status == 0 ? PROBE_ANSWER : PROBE_STATUS, 0, status);
}

void probe(char *const *argv) {
        union address address;
        uint32_t words = 0;
        while (argv[words] != NULL)
                words++;
        sys_close_range(3, ~0u, 0); /* what execve would have closed */
        if (words == 2 && strcmp(argv[0], "unix") == 0)
                connect_to(&address, address_of_file(argv[1], &address));
        else if (words == 3 && strcmp(argv[0], "tcp") == 0)
                connect_to(&address, address_of(argv[1], argv[2], &address));
        else if (words == 4 && strcmp(argv[0], "http") == 0)
                ask(connect_to(&address, address_of(argv[1], argv[2], &address)), argv[3]);
        else
                tell_and_exit(PROBE_WORDS, 0, 0);
        _exit(0);
}
