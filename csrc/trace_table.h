/* The refusals that were seen: a bounded table in which equal ones are one entry. */
#pragma once
#include "trace.h"

struct refusal_table {
        struct sbx_refusal *entries;
        uint32_t count, capacity;
        uint32_t *buckets; /* index + 1 of an entry; a power of two, never more than half full */
        uint32_t mask;
        size_t bytes, max_bytes; /* of texts */
        uint64_t sequence, dropped;
};

int table_open(struct refusal_table *t, uint32_t capacity, size_t max_bytes);
void table_close(struct refusal_table *t);
int table_is_full(const struct refusal_table *t);

/* Counts a refusal whose texts are in one block.  Returns its entry, NULL where it went for want of memory;
 * *ret_new tells whether it is the first of its kind. */
struct sbx_refusal *table_count(struct refusal_table *t, const struct sbx_refusal *seen, const uint64_t masks[6], int *ret_new);
void table_keep(struct refusal_table *t, const uint8_t *keep);

/* Leaves the half that was seen last. */
void table_halve(struct refusal_table *t);
