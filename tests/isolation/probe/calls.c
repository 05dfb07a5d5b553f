/* System calls by themselves. */
#include "probe.h"

#include <sys/syscall.h>
#include <unistd.h>

/* A call by its number with six arguments of 0, or those given. */
static long call(char **a) {
        unsigned long with[6] = { 0 };
        for (int i = 0; i < 6 && a[i + 1] != NULL; i++)
                with[i] = number(a[i + 1]);
        return syscall((long) number(a[0]), with[0], with[1], with[2], with[3], with[4], with[5]);
}

const struct verb call_verbs[] = {
        { "call", call, 1 },
        END_OF_VERBS,
};
