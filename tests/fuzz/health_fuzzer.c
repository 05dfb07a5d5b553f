/* libFuzzer on what a health check says, which runs in the sandbox: what its last line or a probe's answer makes of a
 * reason is one line of printable characters, and an answer of HTTP has a status only where it tells one.  The first
 * byte is how the check ended, the second what kind it is. */
#include <sys/types.h>
#include <unistd.h>
static ssize_t take_bytes(int fd, void *to, size_t size);
#define read take_bytes
#include "../../csrc/health.c"
#define connect_to connect_to_service
#include "../../csrc/probe.c"
#undef read

#include <ctype.h>

static const uint8_t *input;
static size_t input_size;
static size_t piece;

static ssize_t take_bytes(int fd, void *to, size_t size) {
        size_t n = size < piece ? size : piece;
        n = n < input_size ? n : input_size;
        (void) fd;
        memcpy(to, input, n);
        input += n;
        input_size -= n;
        return (ssize_t) n;
}

static void check_line(const char *text) {
        if (strlen(text) >= REASON_MAX + 32)
                abort();
        for (; *text != 0; text++)
                if (!isprint((unsigned char) *text))
                        abort();
}

/* Whom it is told. */
void events_tell_reason(const struct sbx_launch *launch, const char *event, const char *reason) {
        (void) launch;
        check_line(event);
        check_line(reason);
}
void manager_status(struct manager *m, const char *text) {
        (void) m;
        check_line(text);
}
void manager_flush(struct manager *m) {
        (void) m;
}
void service_tell(const struct service *v, const char *file, const char *text, size_t size) {
        (void) v;
        if (strcmp(file, "health") != 0 || size > REASON_MAX + 256 || text[size - 1] != 0)
                abort();
}
void service_stop(struct service *v, int number, uint64_t wait_us, uint32_t cause) {
        (void) v, (void) number, (void) wait_us, (void) cause;
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size) {
        static const struct sbx_launch launch;
        static struct sbx_child child;
        static struct supervision s;
        struct service v = { .launch = &launch, .child = &child, .s = &s };
        if (size < 3)
                return 0;
        struct op_check_health op = { .kind = bytes[1] & 1 ? HEALTH_COMMAND : HEALTH_COMMAND + 1, .retries = 1 };
        struct health h = { .op = &op, .v = &v, .connection = -1, .output = -1, .null_fd = -1 };
        piece = 1u + bytes[2];
        input = bytes + 3;
        input_size = size - 3;
        for (int turn = 0; turn < 3; turn++)
                conclude_by_status(&h, bytes[0] << 8 | (bytes[0] & 0x7f));
        char *head = malloc(size - 2); /* of this very size: a byte too far is found */
        if (head == NULL)
                return 0;
        memcpy(head, bytes + 3, size - 3);
        uint32_t status = status_in(head, size - 3);
        if (status > 999 || (status != 0 && memcmp(head, "HTTP/1.", 7) != 0))
                abort();
        free(head);
        return 0;
}
