/* A hash table with open addressing, since a task that stops has to be found at once. */
#include "trace_flight.h"
#include "sys.h"

#include <stdlib.h>
#include <string.h>

int flights_open(struct flights *t) {
        *t = (struct flights) { .mask = 63 };
        t->slots = calloc(t->mask + 1, sizeof *t->slots);
        return t->slots == NULL ? -ENOMEM : 0;
}

void flights_close(struct flights *t) {
        free(t->slots);
        *t = (struct flights) { 0 };
}

static uint32_t flight_slot(const struct flights *t, pid_t pid) {
        return ((uint32_t) pid * 2654435761u) & t->mask;
}

struct flight *flight_of(const struct flights *t, pid_t pid) {
        for (uint32_t at = flight_slot(t, pid); t->slots[at].pid != 0; at = (at + 1) & t->mask)
                if (t->slots[at].pid == pid)
                        return &t->slots[at];
        return NULL;
}

static int flights_grow(struct flights *t) {
        struct flight *old = t->slots;
        uint32_t size = t->mask + 1;
        struct flight *bigger = calloc(2 * (size_t) size, sizeof *bigger);
        if (bigger == NULL)
                return -ENOMEM;
        t->slots = bigger;
        t->mask = 2 * size - 1;
        for (uint32_t i = 0; i < size; i++) {
                uint32_t at = flight_slot(t, old[i].pid);
                if (old[i].pid == 0)
                        continue;
                while (bigger[at].pid != 0)
                        at = (at + 1) & t->mask;
                bigger[at] = old[i];
        }
        free(old);
        return 0;
}

int flight_begin(struct flights *t, pid_t pid, int32_t call, const uint64_t arguments[6]) {
        struct flight *f = flight_of(t, pid);
        if (f == NULL) {
                if (2 * (t->count + 1) > t->mask && flights_grow(t) < 0)
                        return -ENOMEM;
                uint32_t at = flight_slot(t, pid);
                while (t->slots[at].pid != 0)
                        at = (at + 1) & t->mask;
                f = &t->slots[at];
                t->count++;
        }
        f->pid = pid;
        f->call = call;
        memcpy(f->arguments, arguments, sizeof f->arguments);
        return 0;
}

void flight_end(struct flights *t, pid_t pid) {
        struct flight *f = flight_of(t, pid);
        if (f == NULL)
                return;
        uint32_t hole = (uint32_t) (f - t->slots), at = hole;
        t->count--;
        for (;;) { /* what was pushed past the hole moves up to it */
                t->slots[hole].pid = 0;
                for (;;) {
                        at = (at + 1) & t->mask;
                        if (t->slots[at].pid == 0)
                                return;
                        uint32_t home = flight_slot(t, t->slots[at].pid);
                        if (((at - home) & t->mask) >= ((at - hole) & t->mask))
                                break;
                }
                t->slots[hole] = t->slots[at];
                hole = at;
        }
}
