/* A hash table with open addressing over an array without gaps. */
#include "trace_table.h"
#include "sys.h"

#include <stdlib.h>
#include <string.h>

int table_open(struct refusal_table *t, uint32_t capacity, size_t max_bytes) {
        uint32_t size = 16;
        while (size < 2 * capacity)
                size *= 2;
        *t = (struct refusal_table) { .capacity = capacity, .mask = size - 1, .max_bytes = max_bytes };
        t->entries = calloc(capacity, sizeof *t->entries);
        t->buckets = calloc(size, sizeof *t->buckets);
        if (t->entries != NULL && t->buckets != NULL)
                return 0;
        table_close(t);
        return -ENOMEM;
}

void table_close(struct refusal_table *t) {
        for (uint32_t i = 0; t->entries != NULL && i < t->count; i++)
                free(t->entries[i].texts);
        free(t->entries);
        free(t->buckets);
        *t = (struct refusal_table) { 0 };
}

static size_t texts_size(const struct sbx_refusal *r) {
        size_t size = 0;
        for (int i = 0; i < 5; i++)
                size += r->sizes[i];
        return size;
}

static uint32_t mix(uint32_t h, const void *bytes, size_t size) {
        const uint8_t *at = bytes;
        for (size_t i = 0; i < size; i++)
                h = (h ^ at[i]) * 16777619u;
        return h;
}

static uint32_t hash(const struct sbx_refusal *r) {
        uint32_t h = 2166136261u;
        uint32_t flags = r->flags & ~(uint32_t) REFUSAL_CUT;
        h = mix(h, &r->call, sizeof r->call);
        h = mix(h, &r->error, sizeof r->error);
        h = mix(h, &flags, sizeof flags);
        h = mix(h, r->sizes, sizeof r->sizes);
        h = mix(h, r->texts, texts_size(r));
        return h ^ h >> 15;
}

static int same(const struct sbx_refusal *a, const struct sbx_refusal *b, const uint64_t masks[6]) {
        if (a->call != b->call || a->error != b->error || ((a->flags ^ b->flags) & ~(uint32_t) REFUSAL_CUT) != 0 ||
            memcmp(a->sizes, b->sizes, sizeof a->sizes) != 0)
                return 0;
        for (int i = 0; i < 6; i++)
                if ((a->arguments[i] ^ b->arguments[i]) & masks[i])
                        return 0;
        return texts_size(a) == 0 || memcmp(a->texts, b->texts, texts_size(a)) == 0;
}

static void place(struct refusal_table *t, uint32_t index) {
        uint32_t at = hash(&t->entries[index]) & t->mask;
        while (t->buckets[at] != 0)
                at = (at + 1) & t->mask;
        t->buckets[at] = index + 1;
}

static void place_all(struct refusal_table *t) {
        memset(t->buckets, 0, ((size_t) t->mask + 1) * sizeof *t->buckets);
        for (uint32_t i = 0; i < t->count; i++)
                place(t, i);
}

int table_is_full(const struct refusal_table *t) {
        return t->count == t->capacity || t->bytes >= t->max_bytes;
}

struct sbx_refusal *table_count(struct refusal_table *t, const struct sbx_refusal *seen, const uint64_t masks[6], int *ret_new) {
        uint64_t now = ++t->sequence;
        *ret_new = 0;
        for (uint32_t at = hash(seen) & t->mask; t->buckets[at] != 0; at = (at + 1) & t->mask) {
                struct sbx_refusal *r = &t->entries[t->buckets[at] - 1];
                if (!same(r, seen, masks))
                        continue;
                r->count++;
                r->last = now;
                r->pid = seen->pid;
                return r;
        }
        if (table_is_full(t))
                table_halve(t);
        size_t size = texts_size(seen);
        uint8_t *texts = malloc(size + 1);
        if (texts == NULL) {
                t->dropped++;
                return NULL;
        }
        if (size > 0)
                memcpy(texts, seen->texts, size);
        struct sbx_refusal *r = &t->entries[t->count];
        *r = *seen;
        r->texts = texts;
        r->count = 1;
        r->first = r->last = now;
        t->bytes += size;
        place(t, t->count++);
        *ret_new = 1;
        return r;
}

static void remove_at(struct refusal_table *t, uint32_t index) {
        struct sbx_refusal *r = &t->entries[index];
        t->bytes -= texts_size(r);
        free(r->texts);
        *r = t->entries[--t->count];
        t->entries[t->count] = (struct sbx_refusal) { 0 };
}

void table_keep(struct refusal_table *t, const uint8_t *keep) {
        for (uint32_t i = t->count; i-- > 0;)
                if (!keep[i])
                        remove_at(t, i); /* what moves here was looked at already */
        place_all(t);
}

static int by_last(const void *a, const void *b) {
        const struct sbx_refusal *x = a, *y = b;
        return x->last < y->last ? 1 : x->last > y->last ? -1 : 0;
}

void table_halve(struct refusal_table *t) {
        qsort(t->entries, t->count, sizeof *t->entries, by_last);
        while (t->count > t->capacity / 2 || (t->count > 0 && t->bytes > t->max_bytes / 2)) {
                remove_at(t, t->count - 1);
                t->dropped++;
        }
        place_all(t);
}
