/* What befalls recorded sandboxes, for `sbx events`: RUNTIME/.events, a JSON object a line, the newest last.
 *
 * Beyond a size it becomes .events.1, and that is forgotten.  Who can't write there goes on without. */
#pragma once
#include "executor.h"

/* more: further members of the object, each with a comma before it; "" for none. */
void events_tell(const struct sbx_launch *launch, const char *event, const char *more);
/* Why, in printable ASCII; "" for no reason. */
void events_tell_reason(const struct sbx_launch *launch, const char *event, const char *reason);
void events_tell_end(const struct sbx_launch *launch, const struct sbx_exit *end);
