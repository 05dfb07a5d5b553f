/* The tracer's table under random use, beside a plain list that is searched from end to end. */
#include "trace_table.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define CAPACITY 64u
#define NAMES 400

static const uint64_t masks[6] = { 0, 7 };
static uint64_t counts[NAMES][8];

static int kind_of(const struct sbx_refusal *r) {
        return atoi((const char *) r->texts + 1);
}

static int fail(const char *what) {
        printf("%s\n", what);
        return 1;
}

int main(int argc, char **argv) {
        struct refusal_table t;
        int is_new;
        srand(argc > 1 ? (unsigned) atoi(argv[1]) : 1);
        if (table_open(&t, CAPACITY, 4000) < 0)
                return fail("memory");
        for (int step = 0; step < 200000; step++) {
                char text[32];
                int name = rand() % (step % 1000 < 500 ? 20 : NAMES), low = rand() % 8;
                int n = snprintf(text, sizeof text, "/%d%c", name, 0);
                struct sbx_refusal seen = { .call = name % 5, .error = 2, .pid = step, .texts = (uint8_t *) text, .sizes = { 0, (uint32_t) n } };
                seen.arguments[0] = (uint64_t) rand();
                seen.arguments[1] = (uint64_t) low | (uint64_t) rand() << 3;
                struct sbx_refusal *r = table_count(&t, &seen, masks, &is_new);
                if (r == NULL || kind_of(r) != name || (r->arguments[1] & 7) != (uint64_t) low || r->pid != step)
                        return fail("another entry");
                counts[name][low] = is_new ? 1 : counts[name][low] + 1;
                if (r->count != counts[name][low])
                        return fail("a wrong count");
                if (t.count > CAPACITY)
                        return fail("too many");
                if (rand() % 500 == 0) {
                        uint8_t keep[CAPACITY];
                        uint32_t kept = 0;
                        for (uint32_t i = 0; i < t.count; i++)
                                kept += keep[i] = (uint8_t) (rand() % 2);
                        table_keep(&t, keep);
                        if (t.count != kept)
                                return fail("not what was kept");
                }
        }
        if (t.dropped == 0)
                return fail("never full");
        table_close(&t);
        return 0;
}
