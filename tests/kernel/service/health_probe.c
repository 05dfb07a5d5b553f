/* A service that is looked at, and a check that looks: what its first argument says. */
#include <arpa/inet.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

static int number_in(const char *path) {
        char text[16] = "";
        int fd = open(path, O_RDONLY | O_CLOEXEC);
        if (fd < 0 || read(fd, text, sizeof text - 1) < 0)
                return 98;
        close(fd);
        return atoi(text);
}

static int listen_at(const char *where) {
        struct sockaddr_in in = { .sin_family = AF_INET, .sin_port = htons((uint16_t) atoi(where)), .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
        struct sockaddr_un un = { .sun_family = AF_UNIX };
        int is_path = *where == '/', yes = 1;
        int fd = socket(is_path ? AF_UNIX : AF_INET, SOCK_STREAM, 0);
        strncpy(un.sun_path, where, sizeof un.sun_path - 1);
        setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes);
        if (bind(fd, is_path ? (void *) &un : (void *) &in, is_path ? sizeof un : sizeof in) < 0 || listen(fd, 8) < 0) {
                perror("listen");
                exit(97);
        }
        return fd;
}

/* To each connection this text, as soon as it has asked; "silent" says nothing and keeps it. */
static void serve(const char *where, const char *answer) {
        char request[4096];
        int fd = listen_at(where);
        for (;;) {
                int from = accept(fd, NULL, NULL);
                if (strcmp(answer, "silent") == 0)
                        continue;
                ssize_t n = read(from, request, sizeof request);
                if (n > 0)
                        fwrite(request, 1, (size_t) n, stdout);
                fflush(stdout);
                if (n > 0 && write(from, answer, strlen(answer)) < 0)
                        perror("write");
                close(from);
        }
}

int main(int argc, char **argv) {
        const char *verb = argc > 2 ? argv[1] : "";
        if (strcmp(verb, "serve") == 0)
                serve(argv[2], argv[3]);
        if (strcmp(verb, "idle") == 0)
                for (;;)
                        pause();
        int number = number_in(argv[2]);
        if (strcmp(verb, "hang") == 0 && number > 0)
                pause();
        if (strcmp(verb, "flood") == 0)
                for (int i = 0; i < 100000; i++)
                        puts("a line that nobody reads");
        if (strcmp(verb, "leave") == 0 && fork() == 0)
                pause();
        printf("first line\nthe number is %d\033[31m\n", number);
        return number;
}
