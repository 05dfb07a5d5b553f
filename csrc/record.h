/* What tells others of a live sandbox: a directory of its name in the runtime directory.
 *
 *   RUNTIME/NAME/          locked as long as the supervisor lives: by flock(2), which claims it, and by a read lock of
 *                          fcntl(2)'s open file description locks, which others test with F_OFD_GETLK
 *   RUNTIME/NAME/record    key=value, a NUL behind each; there once the program has been started
 *   RUNTIME/NAME/control   the socket that the supervisor listens on (control.h)
 *
 * RUNTIME is $SBX_RUNTIME_DIR; else /run/sbx for root; else $XDG_RUNTIME_DIR/sbx, /run/user/UID/sbx where the first
 * isn't set, /tmp/sbx-UID where there is neither.  sandbox/process/runtime.py knows the same. */
#pragma once
#include "executor.h"

#define RECORD_VERSION "1"
#define RECORD_MAX (64u << 10)

/* That of the launch, or one made of the profile's and this process's id. -EINVAL where the launch's is none. */
int record_name(const struct sbx_launch *launch, char name[SBX_NAME_MAX + 1]);

/* The runtime directory, made where it is missing and that is asked for; -EPERM: others may write to it. */
int record_open_runtime(char *const *environment, int make);

/* Up to SBX_NAME_MAX letters, digits, '_', '.' and '-', and no option or hidden file. */
int record_is_name(const char *text);

/* Claims the name before anything is started: -EEXIST where a live sandbox has it, -EINVAL where it is none. A name
 * that is left of a dead one is taken over, unless its workload survived. */
int record_claim(const struct sbx_launch *launch);

/* The profile's path as the plan has it, or NULL. */
const char *record_profile(const struct plan *p);

/* Says what runs, under the name that was claimed. */
int record_write(const struct sbx_launch *launch, const struct sbx_child *child);

/* The same of one that is taken over: this process is its supervisor now. */
int record_take(const struct sbx_launch *launch);

/* Takes it away with all that is in it. */
void record_remove(struct sbx_record *r);
