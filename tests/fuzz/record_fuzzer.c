/* libFuzzer on the files of key=value in a live sandbox's directory: a value that is found lies within them, and a record
 * that is taken over says the same but for its supervisor, whatever stood there. */
#define fields_read read_fields
#define fields_replace replace_fields
#include "../../csrc/record.c"

#include <stdlib.h>

static const uint8_t *input;
static size_t input_size;

ssize_t read_fields(int directory, const char *name, char *text, size_t size) {
        size_t n = input_size < size - 1 ? input_size : size - 1;
        (void) directory, (void) name;
        memcpy(text, input, n);
        text[n] = 0;
        return (ssize_t) n;
}

int replace_fields(int directory, const char *name, const char *text, size_t size) {
        char *copy = malloc(size + 1); /* of this very size: a byte too far is found */
        (void) directory, (void) name;
        if (copy == NULL)
                return -ENOMEM;
        memcpy(copy, text, size);
        copy[size] = 0;
        const char *supervisor = field_of(copy, (ssize_t) size, "supervisor"), *plan = field_of(copy, (ssize_t) size, "plan_fd");
        if ((supervisor != NULL && atoi(supervisor) != getpid()) || (plan != NULL && atoi(plan) != 77) || (size > 0 && copy[size - 1] != 0))
                abort();
        free(copy);
        return 0;
}

/* What claiming and writing need. */
const char *cache_variable(char *const *environment, const char *name) {
        return (void) environment, (void) name, NULL;
}
int service_survives(const struct service *v) {
        return v != NULL;
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size) {
        static const char *const keys[] = { "supervisor", "plan_fd", "path", "state", "" };
        struct sbx_record record = SBX_NO_RECORD;
        const struct sbx_launch launch = { .record = &record, .plan_fd = 77 };
        char *text = malloc(size + 1);
        if (text == NULL)
                return 0;
        memcpy(text, bytes, size);
        text[size] = 0;
        for (size_t i = 0; i < sizeof keys / sizeof *keys; i++) {
                const char *value = field_of(text, (ssize_t) size, keys[i]);
                if (value != NULL && (value <= text || value + strlen(value) > text + size))
                        abort();
        }
        if (record_is_name(text) && (strlen(text) > SBX_NAME_MAX || strchr(text, '/') != NULL || *text == '.'))
                abort();
        free(text);
        input = bytes;
        input_size = size;
        record_take(&launch);
        return 0;
}
