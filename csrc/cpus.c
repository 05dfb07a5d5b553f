/* Keeps a launch on one processor for as long as that makes it quicker. */
#include "context.h"
#include "sys.h"

/* A launch is a chain of hand-overs: supervisor, first process, payload.  On one processor each is a switch between
 * tasks; to another one it is an interrupt, a wake-up and a cold cache, and a queue where there is load.  The payload
 * goes back to the caller's affinity before it begins, those who wait for it a little later. */
void stay_on_this_cpu(struct sbx_cpus *cpus) {
        uint64_t one[16] = { 0 };
        unsigned cpu = 0;
        int size = CALL(SYS_sched_getaffinity, 0, sizeof cpus->mask, cpus->mask);
        if (size <= 0 || CALL(SYS_getcpu, &cpu, NULL, NULL) < 0 || cpu >= 64 * 16)
                return;
        one[cpu / 64] = 1ull << (cpu % 64);
        if (CALL(SYS_sched_setaffinity, 0, size, one) >= 0)
                cpus->size = size;
}

/* None of the caller's may be in the sandbox's cpuset: then the kernel has given it all that are. */
int restore_cpus(struct sbx_cpus *cpus) {
        int r = cpus->size > 0 ? CALL(SYS_sched_setaffinity, 0, cpus->size, cpus->mask) : 0;
        cpus->size = 0;
        return r == -EINVAL ? 0 : r;
}

long wait_for_signal(const uint64_t *set, siginfo_t *ret_info, int brief) {
        struct timespec shortly = { .tv_nsec = SHORT_NS };
        return syscall(SYS_rt_sigtimedwait, set, ret_info, brief ? &shortly : NULL, sizeof *set);
}
