/* libFuzzer on the plan decoder: whatever plan_open() takes, every reference in it can be followed.
 * Size and checksum are put right first, or no mutation would get past them. */
#include "plan.h"

#include <stdlib.h>
#include <string.h>

static volatile uint8_t seen;

static void follow_string(const struct plan *p, struct plan_ref ref) {
        for (uint32_t i = 0; i <= ref.len; i++)
                seen ^= (uint8_t) plan_string(p, ref)[i];
}

static void follow(const struct plan *p, const struct plan_record *r, const char *layout) {
        const struct plan_ref *slot = plan_payload(r);
        follow_string(p, r->origin);
        for (; *layout != 0; layout++, slot++) {
                if (*layout == 's')
                        follow_string(p, *slot);
                for (uint32_t i = 0; *layout == 'b' && i < slot->len; i++)
                        seen ^= p->data[slot->offset + i];
                for (uint32_t i = 0; *layout == 'l' && i < slot->len; i++)
                        follow_string(p, plan_list(p, *slot)[i]);
        }
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size) {
        struct plan p;
        uint8_t *copy = malloc(size > 0 ? size : 1); /* of this very size: a byte too far is found */
        if (copy == NULL)
                return 0;
        memcpy(copy, bytes, size);
        if (size >= sizeof(struct plan_header)) {
                struct plan_header *h = (struct plan_header *) copy;
                size_t summed = offsetof(struct plan_header, checksum) + sizeof h->checksum;
                h->size = (uint32_t) size;
                h->checksum = plan_checksum(copy + summed, size - summed);
        }
        if (plan_open(copy, size, &p) == 0) {
                const struct plan_record *r = plan_first_op(&p);
                for (uint32_t i = 0; i < p.header->op_count; i++, r = plan_next(r))
                        follow(&p, r, plan_op_layout(r->kind));
                r = plan_first_stamp(&p);
                for (uint32_t i = 0; i < p.header->stamp_count; i++, r = plan_next(r))
                        follow(&p, r, plan_stamp_layout(r->kind));
        }
        free(copy);
        return 0;
}
