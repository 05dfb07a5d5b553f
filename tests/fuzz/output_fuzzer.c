/* libFuzzer on what a payload writes to its standard output: in whatever pieces it comes, the lines that reach the log's
 * file are those bytes and no others, and each has a head of its own.  The first byte is the size of the pieces, the
 * second tells how often the log isn't ready. */
#include <sys/types.h>
#include <time.h>
#include <unistd.h>
static ssize_t take_bytes(int fd, void *to, size_t size);
static ssize_t keep_bytes(int fd, const void *from, size_t size);
static int sleep_not(const struct timespec *how_long, struct timespec *rest);
#define read take_bytes
#define write keep_bytes /* the field of struct sink as well, to the end of this file */
#define nanosleep sleep_not
#include "../../csrc/output.c"
#include "../../csrc/log_file.c"
#undef read
#undef nanosleep

#include <fcntl.h>

#define HEAD "0000-00-00T00:00:00.000000000Z stdout F "

static const uint8_t *input;
static size_t input_size, piece;
static char *kept;
static size_t kept_size;
static unsigned unready, turn;

static ssize_t take_bytes(int fd, void *to, size_t size) {
        size_t n = size < piece ? size : piece;
        n = n < input_size ? n : input_size;
        (void) fd;
        memcpy(to, input, n);
        input += n;
        input_size -= n;
        return (ssize_t) n;
}

static ssize_t keep_bytes(int fd, const void *from, size_t size) {
        (void) fd;
        kept = realloc(kept, kept_size + size + 1);
        if (kept == NULL)
                abort();
        memcpy(kept + kept_size, from, size);
        kept_size += size;
        return (ssize_t) size;
}

static int sleep_not(const struct timespec *how_long, struct timespec *rest) {
        (void) how_long, (void) rest;
        return 0;
}

static int write_or_not(struct sink *k, enum stream stream, const char *text, size_t size, int ends) {
        return unready > 0 && ++turn % unready != 0 ? -EAGAIN : write_line(k, stream, text, size, ends);
}

/* What the file says was written. */
static size_t read_back(char *to) {
        size_t size = 0;
        for (const char *at = kept, *newline; at < kept + kept_size; at = newline + 1) {
                newline = memchr(at, '\n', (size_t) (kept + kept_size - at));
                if (newline == NULL || newline - at < (ssize_t) strlen(HEAD))
                        abort();
                for (size_t i = 0; i < strlen(HEAD); i++)
                        if (HEAD[i] == '0' ? at[i] < '0' || at[i] > '9' : at[i] != HEAD[i] && (HEAD[i] != 'F' || at[i] != 'P'))
                                abort();
                size_t n = (size_t) (newline - at) - strlen(HEAD);
                memcpy(to + size, at + strlen(HEAD), n);
                size += n;
                if (at[strlen(HEAD) - 2] == 'F')
                        to[size++] = '\n';
        }
        return size;
}

/* What is asked for elsewhere in these files. */
int loop_add(struct loop *l, int fd, uint32_t events, loop_ready *ready, void *owner) {
        return (void) l, (void) fd, (void) events, (void) ready, (void) owner, 0;
}
int loop_change(struct loop *l, int fd, uint32_t events) {
        return (void) l, (void) fd, (void) events, 0;
}
void loop_remove(struct loop *l, int fd) {
        (void) l, (void) fd;
}
int loop_at(struct loop *l, int64_t due_ns, loop_due *due, void *owner) {
        return (void) l, (void) due_ns, (void) due, (void) owner, 0;
}
int64_t loop_now(void) {
        return 1; /* the log is never waited for in vain */
}
int journal_open(const char *name, struct sink **ret) {
        return (void) name, (void) ret, -ENOSYS;
}
const char *cache_variable(char *const *environment, const char *name) {
        return (void) environment, (void) name, NULL;
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size) {
        static struct log_file file;
        static struct output o;
        if (size < 3)
                return 0;
        if (file.fd == 0)
                file = (struct log_file) { .fd = open("/dev/null", O_WRONLY), .directory = -1, .most = UINT64_MAX / 2, .files = 1 };
        file.sink = (struct sink) { .write = write_or_not, .flush = flush };
        o = (struct output) { .sink = &file.sink, .ends = { { .reader = 1 << 20, .writer = -1 }, { .reader = -1, .writer = -1 } } };
        piece = 1u + bytes[0] * 97u;
        unready = bytes[1] % 4u;
        input = bytes + 2;
        input_size = size - 2;
        kept_size = turn = 0;
        while (o.ends[0].reader >= 0)
                take_some(&o, STREAM_STDOUT);
        output_end(&o);
        char *back = malloc(size);
        if (back == NULL)
                return 0;
        size_t n = read_back(back);
        if (n < size - 2 || n > size - 1 || memcmp(back, bytes + 2, size - 2) != 0)
                abort();
        free(back);
        return 0;
}
