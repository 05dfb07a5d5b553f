/* What the benchmark of scale runs in each sandbox: says that it is there with a byte on standard output, or in
 * the file that is named to it, and waits.  At SIGUSR1 it forks without end, and nothing but SIGKILL stops it. */
#include <fcntl.h>
#include <signal.h>
#include <unistd.h>

static void bomb(int sig) {
        (void) sig;
        signal(SIGTERM, SIG_IGN);
        for (;;)
                fork();
}

int main(int argc, char **argv) {
        int fd = argc > 1 ? open(argv[1], O_WRONLY | O_CLOEXEC) : 1;
        signal(SIGUSR1, bomb);
        if (fd < 0 || write(fd, ".", 1) != 1)
                return 1;
        for (;;)
                pause();
}
