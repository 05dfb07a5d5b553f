/* What is to know of a sandbox's end beside its status. */
#pragma once
#include "executor.h"

struct rusage;

/* As far as the first process knows: of all that was waited for. */
void take_rusage(struct sbx_usage *usage, const struct rusage *used);

/* For a sandbox that is reaped: what it has used, and why it ended; nothing of it stays on the host. */
void finish(struct sbx_child *child, struct sbx_exit *end);
