/* libFuzzer on the message that says what a served or joining program is: whatever take_strings() takes, its lists lie
 * within the message and end with NULL.  Memory that the sandbox would map is taken from the heap, where a byte too far
 * is found. */
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/types.h>

#define MAPS_MAX 8
static void *maps[MAPS_MAX];
static unsigned map_count;

static void *map_from_heap(void *at, size_t size, int protection, int flags, int fd, off_t offset) {
        (void) at, (void) protection, (void) flags, (void) fd, (void) offset;
        void *taken = map_count < MAPS_MAX ? calloc(1, size) : NULL;
        if (taken == NULL)
                return MAP_FAILED;
        return maps[map_count++] = taken;
}

#define mmap map_from_heap
#include "../../csrc/call.c"

/* What take_call() needs beyond it, and take_strings() doesn't. */
int enter_directory(const char *path) {
        return *path == '/' ? 0 : -ENOENT;
}
int restore_cpus(struct sbx_cpus *cpus) {
        (void) cpus;
        return 0;
}

static volatile size_t seen;

static void follow(char *const *list, uint32_t count) {
        for (uint32_t i = 0; i < count; i++)
                seen += strlen(list[i]);
        if (list[count] != NULL)
                abort();
}

/* The head first, then the strings; the head's size is put right, since take_call() compares it with the message's. */
int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size) {
        static char *before[] = { "PATH=/usr/bin", "HOME=/home/somebody", "=", "LANG=C", NULL };
        struct serve_call call;
        const char *cwd = NULL;
        if (size < sizeof call || size - sizeof call > CALL_MAX_SIZE)
                return 0;
        memcpy(&call, bytes, sizeof call);
        call.size = (uint32_t) (size - sizeof call);
        char *strings = malloc(call.size > 0 ? call.size : 1);
        if (strings == NULL)
                return 0;
        memcpy(strings, bytes + sizeof call, call.size);
        for (int joined = 0; joined < 2; joined++) {
                struct sbx_launch launch = { .joined = joined };
                struct context c = { .launch = &launch, .environment = before };
                if (take_strings(&c, &call, strings, &cwd) == 0) {
                        uint32_t count = 0;
                        follow(c.argv, call.words);
                        while (c.environment[count] != NULL)
                                count++;
                        follow(c.environment, count);
                        seen += strlen(cwd);
                }
                while (map_count > 0)
                        free(maps[--map_count]);
        }
        free(strings);
        return 0;
}
