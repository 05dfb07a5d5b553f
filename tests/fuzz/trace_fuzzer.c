/* libFuzzer on what the tracer reads of a traced task: its memory is the input, and its links in /proc are too.  Whatever
 * it holds, the texts that are kept stay within their bounds and in the sizes that are told.  The input starts with calls
 * of eight bytes: which it is and how it is noted, its task and result, and six arguments. */
#include <stdio.h>
#include <sys/ptrace.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <unistd.h>
static ssize_t read_memory(pid_t pid, const struct iovec *mine, unsigned long n, const struct iovec *theirs, unsigned long m, unsigned long flags);
static ssize_t read_link(const char *path, char *to, size_t size);
#define process_vm_readv read_memory
#define readlink read_link
#include "../../csrc/trace_note.c"
#include "../../csrc/trace_table.c"
#include "../../csrc/trace_task.c"
#undef readlink

#define CALLS 8u
#define CALL_SIZE 8u

static const uint8_t *memory;
static size_t memory_size;
static volatile uint8_t seen;

static ssize_t read_memory(pid_t pid, const struct iovec *mine, unsigned long n, const struct iovec *theirs, unsigned long m, unsigned long flags) {
        uint64_t address = (uint64_t) (uintptr_t) theirs->iov_base;
        (void) pid, (void) n, (void) m, (void) flags;
        if (address >= memory_size)
                return -1;
        size_t size = memory_size - address < mine->iov_len ? memory_size - address : mine->iov_len;
        memcpy(mine->iov_base, memory + address, size);
        return (ssize_t) size;
}

static ssize_t read_link(const char *path, char *to, size_t size) {
        size_t wanted = memory_size > PATH_MAX + 8 ? memory_size : memory_size / 2;
        (void) path;
        if (wanted == 0)
                return -1;
        wanted = wanted < size ? wanted : size;
        memcpy(to, memory, wanted < memory_size ? wanted : memory_size);
        return (ssize_t) (wanted < memory_size ? wanted : memory_size);
}

static void check_table(const struct refusal_table *t) {
        size_t bytes = 0;
        for (uint32_t i = 0; i < t->count; i++) {
                bytes += texts_size(&t->entries[i]);
                for (size_t at = 0; at < texts_size(&t->entries[i]); at++)
                        seen ^= t->entries[i].texts[at];
                if (t->entries[i].count == 0 || t->entries[i].made_good > t->sequence)
                        abort();
        }
        if (bytes != t->bytes || t->count > t->capacity)
                abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size) {
        static const struct sbx_watch watches[SBX_TRACE_CALLS] = {
                [0] = { .errors = { 6 }, .path = { 0, -1 }, .directory = { -1, -1 }, .bytes = -1, .bytes_size = -1 },
                [1] = { .errors = { 6 }, .path = { 1, 3 }, .directory = { 0, 2 }, .bytes = -1, .bytes_size = -1 },
                [2] = { .errors = { 6 }, .path = { -1, -1 }, .directory = { -1, -1 }, .bytes = 1, .bytes_size = 2 },
                [3] = { .errors = { 6 }, .path = { SBX_WATCH_DESCRIPTOR, -1 }, .directory = { 0, -1 }, .bytes = 1, .bytes_size = -1 },
                [4] = { .errors = { 6 }, .masks = { 7 }, .path = { 0, 1 }, .directory = { -1, -1 }, .bytes = 2, .bytes_size = 3 },
        };
        struct notes *t = calloc(1, sizeof *t);
        if (t == NULL || table_open(&t->table, 4, 4096) < 0)
                abort();
        t->watches = watches;
        for (uint32_t i = 0; i < CALLS && (i + 1) * CALL_SIZE <= size; i++) {
                const uint8_t *at = bytes + i * CALL_SIZE;
                struct flight f = { .pid = 1 << 30 | at[1] >> 6, .call = at[0] % 5 };
                for (uint32_t k = 0; k < 6; k++)
                        f.arguments[k] = at[2 + k];
                memory = at + CALL_SIZE;
                memory_size = size - (i + 1) * CALL_SIZE;
                t->started |= at[0] & 0x80;
                if (at[0] & 0x40)
                        note_refusal(t, &f, at[1] & 3, at[0] & 0x20 ? REFUSAL_BY_FILTER : 0);
                else
                        note_ended(t, &f, (at[1] & 3) - 2);
                check_table(&t->table);
        }
        table_close(&t->table);
        free(t);
        return 0;
}
