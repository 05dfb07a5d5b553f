/* What the benchmark of scale runs in each sandbox: says that it is there with a byte on standard output, and waits.
 * At SIGUSR1 it forks without end, and nothing but SIGKILL stops it. */
#include <signal.h>
#include <unistd.h>

static void bomb(int sig) {
        (void) sig;
        signal(SIGTERM, SIG_IGN);
        for (;;)
                fork();
}

int main(void) {
        signal(SIGUSR1, bomb);
        if (write(1, ".", 1) != 1)
                return 1;
        for (;;)
                pause();
}
