/* The end of a sandbox: usage, cause, and the removal of its cgroups. */
#include "ending.h"
#include "cgroup.h"
#include "sys.h"

#include <sys/resource.h>

void take_rusage(struct sbx_usage *usage, const struct rusage *used) {
        usage->user_us = (uint64_t) used->ru_utime.tv_sec * 1000000u + (uint64_t) used->ru_utime.tv_usec;
        usage->system_us = (uint64_t) used->ru_stime.tv_sec * 1000000u + (uint64_t) used->ru_stime.tv_usec;
        usage->memory_peak = (uint64_t) used->ru_maxrss << 10;
        usage->read_bytes = (uint64_t) used->ru_inblock << 9;
        usage->write_bytes = (uint64_t) used->ru_oublock << 9;
}

static enum sbx_cause cause_of(const struct sbx_child *child, const struct sbx_exit *end) {
        if (end->failure.stage != 0)
                return SBX_FAILED;
        if (child->ended_for != 0)
                return child->ended_for;
        if (end->status == 0)
                return SBX_EXITED;
        if (end->usage.oom_kills > 0)
                return SBX_OUT_OF_MEMORY;
        if (end->usage.pids_limit_hits > 0)
                return SBX_PIDS_LIMIT;
        if (!WIFSIGNALED(end->status))
                return SBX_EXITED;
        return WTERMSIG(end->status) == SIGSYS ? SBX_FILTERED : SBX_SIGNALED;
}

void finish(struct sbx_child *child, struct sbx_exit *end) {
        child->usage.wall_ns = monotonic_ns() - child->usage.begun_ns;
        if (child->cgroups.count > 0) {
                cgroups_blame(&child->cgroups, &end->failure);
                cgroups_measure(&child->cgroups, &child->usage);
        }
        end->usage = child->usage;
        end->cause = cause_of(child, end);
        end->left = child->cgroups.count > 0 ? cgroups_remove(&child->cgroups) : 0;
}
