/* Attends to a sandbox that lives longer than a moment: a loop over signals, the control socket and what its
 * features add. */
#include "supervision.h"
#include "control.h"
#include "events.h"
#include "record.h"
#include "service.h"
#include "sys.h"

#include <stdlib.h>

struct supervision *sbx_attend(const struct sbx_launch *launch, struct sbx_child *child, int *ret_error) {
        struct supervision *s = calloc(1, sizeof *s);
        *ret_error = -ENOMEM;
        if (s == NULL)
                return NULL;
        s->launch = launch;
        s->child = child;
        int r = loop_open(&s->loop);
        if (r >= 0) {
                if (launch->record->directory_fd < 0)
                        r = record_claim(launch);
                if (r >= 0)
                        r = control_open(s);
                if (r >= 0)
                        events_tell(launch, child->pidfd > 0 ? "adopted" : "started", "");
                if (r >= 0 && child->service != NULL)
                        r = service_attend(child->service, s);
                if (r >= 0) /* last: who reads it may ask at once */
                        r = child->pidfd > 0 ? record_take(launch) : record_write(launch, child);
                if (r >= 0) {
                        limits_attend(&s->limits, launch, child, &s->loop);
                        return s;
                }
                loop_close(&s->loop);
        }
        if (child->pidfd == 0) /* who takes over and can't leaves it to the next */
                record_remove(launch->record);
        free(s);
        *ret_error = r;
        return NULL;
}

int sbx_attend_fd(const struct supervision *s) {
        return s->loop.fd;
}

int sbx_attend_turn(struct supervision *s) {
        return loop_turn(&s->loop, 0);
}

void sbx_attend_signal(struct supervision *s, int number) {
        if (s->child->service != NULL)
                service_signal(s->child->service, number);
        else
                child_signal(s->child, number);
}

void sbx_attend_end(struct supervision *s, const struct sbx_exit *end) {
        if (s->child->service != NULL)
                service_end(s->child->service);
        limits_end(&s->limits, end);
        events_tell_end(s->launch, end);
        record_remove(s->launch->record); /* first: its name is free once those who wait are told */
        control_close(s, end);
        loop_close(&s->loop);
        free(s);
}

void supervision_kill(struct supervision *s) {
        child_signal(s->child, SIGKILL);
}
