/* Checks a plan's bytes, so that the executor can follow every reference without looking. */
#include "plan.h"

#include <errno.h>
#include <string.h>

const char *plan_op_layout(unsigned kind) {
        switch (kind) {
#define OP(number, name, layout)                                                                                       \
        case number:                                                                                                   \
                return layout;
                PLAN_OPS(OP)
#undef OP
        }
        return NULL;
}

const char *plan_op_name(unsigned kind) {
        switch (kind) {
#define OP(number, name, layout)                                                                                       \
        case number:                                                                                                   \
                return #name;
                PLAN_OPS(OP)
#undef OP
        }
        return NULL;
}

const char *plan_stamp_layout(unsigned kind) {
        switch (kind) {
#define STAMP(number, name, layout)                                                                                    \
        case number:                                                                                                   \
                return layout;
                PLAN_STAMPS(STAMP)
#undef STAMP
        }
        return NULL;
}

uint64_t plan_checksum(const void *bytes, size_t size) {
        const uint8_t *at = bytes;
        uint64_t sum = 0xcbf29ce484222325ull;
        while (size > 0) {
                uint64_t word = 0;
                size_t n = size < 8 ? size : 8;
                memcpy(&word, at, n);
                sum = (sum ^ word) * 0x100000001b3ull;
                sum ^= sum >> 32;
                at += n;
                size -= n;
        }
        return sum;
}

static int within(uint64_t offset, uint64_t size, uint64_t whole) {
        return offset <= whole && size <= whole - offset;
}

/* Many references may lead to the same bytes: what is looked at counts each time. */
static int spend(uint64_t *left, uint64_t bytes) {
        if (bytes > *left)
                return 0;
        *left -= bytes;
        return 1;
}

static int string_is_sound(const struct plan *p, struct plan_ref ref, uint64_t *left) {
        if (!within(ref.offset, (uint64_t) ref.len + 1, p->header->data_size) || !spend(left, (uint64_t) ref.len + PLAN_STRING_COST))
                return 0;
        const uint8_t *s = p->data + ref.offset;
        return s[ref.len] == 0 && memchr(s, 0, ref.len) == NULL;
}

static int list_is_sound(const struct plan *p, struct plan_ref ref, uint64_t *left) {
        if (ref.offset % 4 != 0 || !within(ref.offset, (uint64_t) ref.len * sizeof(struct plan_ref), p->header->data_size))
                return 0;
        const struct plan_ref *entries = plan_list(p, ref);
        for (uint32_t i = 0; i < ref.len; i++)
                if (!string_is_sound(p, entries[i], left))
                        return 0;
        return 1;
}

static int record_is_sound(const struct plan *p, const struct plan_record *r, uint64_t room, const char *layout, uint64_t *left) {
        if (layout == NULL || r->size != sizeof *r + 8 * strlen(layout) || r->size > room || !string_is_sound(p, r->origin, left))
                return 0;
        const struct plan_ref *slot = plan_payload(r);
        for (; *layout != 0; layout++, slot++)
                switch (*layout) {
                case 'u':
                        break;
                case 's':
                        if (!string_is_sound(p, *slot, left))
                                return 0;
                        break;
                case 'b':
                        if (slot->offset % 8 != 0 || !within(slot->offset, slot->len, p->header->data_size) || !spend(left, slot->len))
                                return 0;
                        break;
                case 'l':
                        if (!list_is_sound(p, *slot, left))
                                return 0;
                        break;
                default:
                        return 0;
                }
        return 1;
}

static int records_are_sound(const struct plan *p, uint32_t offset, uint32_t size, uint32_t count,
                             const char *(*layout_of)(unsigned kind), uint64_t *left) {
        if (offset % 8 != 0 || !within(offset, size, p->header->size))
                return 0;
        uint64_t room = size;
        const struct plan_record *r = (const struct plan_record *) (p->base + offset);
        for (uint32_t i = 0; i < count; i++) {
                if (room < sizeof *r || !record_is_sound(p, r, room, layout_of(r->kind), left))
                        return 0;
                room -= r->size;
                r = plan_next(r);
        }
        return room == 0;
}

int plan_open(const void *base, size_t size, struct plan *ret_plan) {
        const struct plan_header *h = base;
        size_t summed = offsetof(struct plan_header, checksum) + sizeof h->checksum;

        if (size < sizeof *h || size > PLAN_MAX_SIZE || (uintptr_t) base % 8 != 0)
                return -EBADMSG;
        if (memcmp(h->magic, PLAN_MAGIC, sizeof h->magic) != 0 || h->reserved != 0)
                return -EBADMSG;
        if (h->version != PLAN_VERSION)
                return -EPROTO;
        if (h->size != size || h->checksum != plan_checksum((const uint8_t *) base + summed, size - summed))
                return -EBADMSG;
        if (h->op_count > PLAN_MAX_OPS || h->stamp_count > PLAN_MAX_STAMPS)
                return -EBADMSG;
        if (h->data_offset % 8 != 0 || !within(h->data_offset, h->data_size, size))
                return -EBADMSG;

        uint64_t left = PLAN_MAX_READ;
        struct plan p = { .base = base, .header = h, .data = (const uint8_t *) base + h->data_offset };
        if (!records_are_sound(&p, h->ops_offset, h->ops_size, h->op_count, plan_op_layout, &left) ||
            !records_are_sound(&p, h->stamps_offset, h->stamps_size, h->stamp_count, plan_stamp_layout, &left))
                return -EBADMSG;
        *ret_plan = p;
        return 0;
}
