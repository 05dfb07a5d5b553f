/* What the launch's own filters answer to a call, whatever filters the payload has put on top of them.
 *
 * The kernel tells a tracer only the answer that counts, and a payload may install filters of its own: of equal
 * answers the newest one's counts, so a filter of the payload's could make a refused call look like a watched one. */
#pragma once
#include "trace.h"

/* The answer of all filters together to a struct seccomp_data, as the kernel combines them; what can't be followed is
 * killed. */
uint32_t sbx_filters_answer(const struct sbx_filter *filters, uint32_t count, const void *seccomp_data);
