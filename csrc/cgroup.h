/* Control groups of a sandbox: where they lie, what is written to them, who enters them, what they tell at the end.
 *
 * cgroup_place.c finds where (and makes it), cgroup.c carries out the plan's ops, cgroup_end.c measures and removes.
 * Everything but cgroups_enter() runs in the supervisor. */
#pragma once
#include "context.h"

enum controller {
        CONTROLLER_MEMORY = 1,
        CONTROLLER_PIDS = 2,
        CONTROLLER_CPU = 4,
        CONTROLLER_CPUSET = 8,
        CONTROLLER_IO = 16,
        CONTROLLER_CPUACCT = 32,
};

/* A cgroup of this name, or with a number behind it, in the hierarchy mounted at `mount`. The controller tells which
 * hierarchy it is where version is 1. 0, or -errno with *ret_detail. */
int cgroup_make(const char *mount, const char *controller, int version, const char *name, struct sbx_cgroup *ret, uint32_t *ret_detail);
/* Lets a controller act in a cgroup of version 2, and in all above it down from where sbx's begin. */
int cgroup_enable(int directory, const char *controller, uint32_t *ret_detail);
void cgroup_name(const char *name, uint32_t number, char out[SBX_CGROUP_NAME + 12]);

/* Before the clone: what the first process needs to enter, and what its clone must leave to it of *flags. */
int cgroups_open_entrances(struct context *c, uint64_t *flags);
/* In the sandbox's first process, before it does anything that is to be counted; async-signal-safe. */
int cgroups_enter(struct context *c);
/* In the supervisor, once that process is there, or never will be. */
void cgroups_close_entrances(struct context *c);
/* Whether the clone failed for the cgroup. */
int cgroups_refused(const struct context *c, int error);

/* What the sandbox has used; untouched where it has no cgroup that knows. */
void cgroups_measure(const struct sbx_cgroups *g, struct sbx_usage *u);
/* Says so where a limit of the sandbox's own is why its launch failed. */
void cgroups_blame(const struct sbx_cgroups *g, struct sbx_failure *failure);
/* Kills what is left in them and removes them; -errno of one that stays. They are forgotten either way. */
int cgroups_remove(struct sbx_cgroups *g);

/* cgroup_place.c: a small file below dir, at most size - 1 bytes and a NUL; its length or -errno. */
ssize_t read_text(int dir, const char *path, char *text, size_t size);
int write_text(int dir, const char *path, const char *text);
/* cgroup_end.c: of lines "key value". */
int find_number(const char *text, const char *key, uint64_t *ret);
