/* libFuzzer on what a payload says to its NOTIFY_SOCKET: whatever it is, only words of the protocol reach the manager,
 * and no byte among them that controls a terminal.  The service behind it only counts. */
#include "../../csrc/notify.c"

#include <ctype.h>

static volatile unsigned counted;

void service_enter(struct service *v, enum service_state state) {
        v->state = state;
}
void service_extend(struct service *v, uint64_t us) {
        v->watchdog_us = us;
}
void service_watched(struct service *v) {
        v->bites_after_us++;
}
void service_hung(struct service *v) {
        v->bound_ns++;
}
void service_publish_soon(struct service *v) {
        for (const char *at = v->status; *at != 0; at++)
                if (iscntrl((unsigned char) *at))
                        abort();
        if (strlen(v->status) >= STATUS_MAX)
                abort();
}
void service_take_reports(struct service *v) {
        (void) v;
}

/* What only making the socket needs. */
int clone_tree(int fd, uint64_t attributes, uint64_t propagation, int recursive, int user_namespace) {
        (void) fd, (void) attributes, (void) propagation, (void) recursive, (void) user_namespace;
        return -ENOSYS;
}
int attach_at(struct context *c, int tree, const char *path, int directory, int create) {
        (void) c, (void) tree, (void) path, (void) directory, (void) create;
        return -ENOSYS;
}

/* The manager's side: one line a word. */
static void check_line(const char *text) {
        if (strpbrk(text, "\n\r\x1b") != NULL)
                abort();
        counted += (unsigned) strlen(text);
}
void manager_note(struct manager *m, enum manager_word word) {
        (void) m;
        counted += word;
}
void manager_status(struct manager *m, const char *text) {
        (void) m;
        check_line(text);
}
void manager_error(struct manager *m, uint32_t number) {
        (void) m;
        if (number > 4095)
                abort();
}
void manager_bus_error(struct manager *m, const char *name) {
        (void) m;
        check_line(name);
}
void manager_extend(struct manager *m, uint64_t us) {
        (void) m;
        counted += (unsigned) us;
}
void manager_barrier(struct manager *m, int fd) {
        (void) m;
        (void) fd;
}
int manager_store(struct manager *m, const char *text, const int *fds, uint32_t count) {
        (void) m;
        const char *name = strstr(text, "\nFDNAME=" FDNAME_PREFIX);
        size_t lines = 0;
        for (const char *at = text; *at != 0; at++)
                lines += *at == '\n';
        if (name == NULL || strncmp(text, "FDSTORE", 7) != 0 || lines > 2 || (count > 0 && fds[0] != 0))
                abort();
        return 0;
}

/* The first byte tells how many descriptors come with the text. */
int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size) {
        static struct message message;
        struct service v = { 0 };
        struct notify n = { .fd = -1, .v = &v };
        if (size < 1 || size - 1 > MESSAGE_MAX)
                return 0;
        message.fd_count = bytes[0] % 3;
        memset(message.fds, 0, sizeof message.fds);
        memcpy(message.text, bytes + 1, size - 1);
        message.text[size - 1] = 0;
        if (strlen(message.text) == size - 1) /* receive() lets no other pass */
                take_message(&n, &message);
        return 0;
}
