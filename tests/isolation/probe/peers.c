/* What is shared beside files and network: other processes, memory, queues, keys, devices, clock and name. */
#include "probe.h"

#include <fcntl.h>
#include <linux/keyctl.h>
#include <mqueue.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ipc.h>
#include <sys/msg.h>
#include <sys/prctl.h>
#include <sys/sem.h>
#include <sys/shm.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/timex.h>
#include <sys/utsname.h>
#include <time.h>
#include <unistd.h>

/* ---- Other processes ---- */

/* A signal to all that can be reached; a test says beforehand whom it may hit. */
static long signal_to(char **a) {
        return kill((pid_t) strtol(a[0], NULL, 0), (int) number(a[1]));
}

static long process_handle(char **a) {
        return syscall(SYS_pidfd_open, (pid_t) number(a[0]), 0);
}

static long memory_of(char **a) {
        char path[64];
        snprintf(path, sizeof path, "/proc/%lu/mem", number(a[0]));
        return open(path, O_RDWR | O_CLOEXEC);
}

static long priority_of(char **a) {
        struct { unsigned size, policy; unsigned long long flags; int nice; unsigned priority; unsigned long long times[3]; } attributes;
        return syscall(SYS_sched_getattr, (pid_t) number(a[0]), &attributes, (unsigned) sizeof attributes, 0u);
}

static long limits_of(char **a) {
        unsigned long long limit[2];
        return syscall(SYS_prlimit64, (pid_t) number(a[0]), 7, NULL, limit);
}

/* A process for others to reach: it says "here" and lives until it is ended. */
static long stay(char **a) {
        char byte;
        (void) a;
        alarm(0);
        if (write(STDOUT_FILENO, "here\n", 5) < 0)
                return -1;
        while (read(STDIN_FILENO, &byte, 1) > 0)
                ;
        return 0;
}

/* ---- Memory and queues by a key or a name ---- */

static long shared_memory(char **a) {
        return shmget((key_t) number(a[0]), 0, 0);
}

static long semaphores(char **a) {
        return semget((key_t) number(a[0]), 0, 0);
}

static long messages(char **a) {
        return msgget((key_t) number(a[0]), 0);
}

static long message_queue(char **a) {
        return mq_open(a[0], O_RDONLY);
}

/* A key that the caller holds, by its name: the session's keyring is inherited. */
static long keyring(char **a) {
        return syscall(SYS_keyctl, KEYCTL_SEARCH, KEY_SPEC_SESSION_KEYRING, "user", a[0], 0);
}

/* ---- Devices ---- */

/* The kernel's log, memory, machines, devices of the host: opened is enough. */
static long device(char **a) {
        return open(a[0], O_RDWR | O_NOCTTY | O_CLOEXEC | O_NONBLOCK);
}

static long make_device(char **a) {
        long made = mknod(a[0], S_IFCHR | 0666, makedev((unsigned) number(a[1]), (unsigned) number(a[2])));
        if (made == 0)
                unlink(a[0]);
        return made;
}

/* The session of a process outside: getsid(2) of oneself is 0 where its leader has no number here. */
static long session_outside(char **a) {
        (void) a;
        pid_t session = getsid(0);
        say("session %d", session);
        return session == 0 ? 0 : nothing();
}

/* ---- Clock and name ---- */

/* An hour later, by whichever clock: nobody tries this outside of a sandbox. */
static long set_clock(char **a) {
        struct timespec now;
        (void) a;
        clock_gettime(CLOCK_REALTIME, &now);
        now.tv_sec += 3600;
        return clock_settime(CLOCK_REALTIME, &now);
}

/* The clock's rate, to what it is: only who may set it may do that. */
static long tune_clock(char **a) {
        struct timex state = { .modes = 0 };
        (void) a;
        if (adjtimex(&state) < 0)
                return -1;
        state.modes = ADJ_FREQUENCY;
        return adjtimex(&state);
}

/* The name that it has already. */
static long set_name(char **a) {
        struct utsname names;
        (void) a;
        return uname(&names) < 0 ? -1 : sethostname(names.nodename, strlen(names.nodename));
}

static long set_domain(char **a) {
        struct utsname names;
        (void) a;
        return uname(&names) < 0 ? -1 : setdomainname(names.domainname, strlen(names.domainname));
}

const struct verb peer_verbs[] = {
        { "signal", signal_to, 2 },          { "process-handle", process_handle, 1 },
        { "memory-of", memory_of, 1 },       { "priority-of", priority_of, 1 },
        { "limits-of", limits_of, 1 },       { "shared-memory", shared_memory, 1 },
        { "semaphores", semaphores, 1 },     { "messages", messages, 1 },
        { "message-queue", message_queue, 1 }, { "keyring", keyring, 1 },
        { "device", device, 1 },             { "make-device", make_device, 3 },
        { "session-outside", session_outside, 0 },     { "stay", stay, 0 },
        { "set-clock", set_clock, 0 },       { "tune-clock", tune_clock, 0 },
        { "set-name", set_name, 0 },         { "set-domain", set_domain, 0 },
        END_OF_VERBS,
};
