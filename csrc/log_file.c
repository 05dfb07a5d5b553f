/* A log in files: LOGS/NAME/log is the newest, log.1 the one before it.
 *
 * LOGS is $SBX_LOG_DIR; else /var/log/sbx for root; else $XDG_STATE_HOME/log/sbx, ~/.local/state/log/sbx where that isn't
 * set.  sandbox/process/logs.py knows the same.  A line is one of the Container Runtime Interface's:
 *
 *   2026-01-31T12:00:00.123456789Z stdout F text
 *
 * with P for a piece of a line that goes on in the next one. */
#include "cache.h"
#include "output.h"
#include "sys.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <time.h>

#define HEAD_MAX 64u
#define TRIES 50
#define HELD (2u * (LINE_MAX_BYTES + HEAD_MAX))

struct log_file {
        struct sink sink;
        char *const *environment;
        const char *name;
        int directory, fd;
        uint64_t size, most, files;
        time_t second; /* that `stamp` tells */
        char stamp[24];
        size_t held;
        uint64_t held_lines;
        char bytes[HELD];
};

/* ---- Where ---- */

static int below(char path[PATH_MAX], const char *base, const char *rest) {
        int n = snprintf(path, PATH_MAX, "%s%s", base, rest);
        return n < 0 || n >= PATH_MAX ? -ENAMETOOLONG : 0;
}

static int logs_path(char *const *environment, char path[PATH_MAX]) {
        const char *base = cache_variable(environment, "SBX_LOG_DIR");
        if (base != NULL && *base == '/')
                return below(path, base, "");
        if (geteuid() == 0)
                return below(path, "/var/log/sbx", "");
        base = cache_variable(environment, "XDG_STATE_HOME");
        if (base != NULL && *base == '/')
                return below(path, base, "/log/sbx");
        base = cache_variable(environment, "HOME");
        return base == NULL || *base != '/' ? -ENOENT : below(path, base, "/.local/state/log/sbx");
}

/* With its parents, which are the user's own to make. */
static int make_path(char *path) {
        for (char *at = path + 1;; at++) {
                char end = *at;
                if (end != '/' && end != 0)
                        continue;
                *at = 0;
                if (mkdir(path, 0700) < 0 && errno != EEXIST && errno != EROFS && errno != EACCES)
                        return -errno;
                *at = end;
                if (end == 0)
                        return 0;
        }
}

/* With a lock that tells `sbx gc` that it is written to. Whoever removes an old one of this name has the other kind for
 * a moment; what is opened then is gone by the time that the lock is had. */
static int hold_directory(int logs, const char *name) {
        for (int tries = 0; tries < TRIES; tries++) {
                struct stat st;
                if (mkdirat(logs, name, 0700) < 0 && errno != EEXIST)
                        return -errno;
                cleanup_fd int directory = openat(logs, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
                if (directory < 0 && errno != ENOENT)
                        return -errno;
                if (directory >= 0 && flock(directory, LOCK_SH | LOCK_NB) >= 0 && fstat(directory, &st) >= 0 && st.st_nlink > 0)
                        return take_fd(&directory);
                nanosleep(&(struct timespec) { .tv_nsec = 2000000 }, NULL);
        }
        return -EBUSY;
}

static int open_directory(char *const *environment, const char *name) {
        char path[PATH_MAX];
        struct stat st;
        int r = logs_path(environment, path);
        if (r >= 0)
                r = make_path(path);
        if (r < 0)
                return r;
        cleanup_fd int logs = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        cleanup_fd int directory = logs < 0 ? -errno : hold_directory(logs, name);
        if (directory < 0)
                return directory;
        if (fstat(directory, &st) < 0)
                return -errno;
        /* What others can put there could be a file of theirs that we write to. */
        return st.st_uid != geteuid() || (st.st_mode & 022) != 0 ? -EPERM : take_fd(&directory);
}

/* ---- Files ---- */

static int open_newest(struct log_file *f) {
        struct stat st;
        close_fd(&f->fd);
        if (f->directory < 0 || fstat(f->directory, &st) < 0 || st.st_nlink == 0) {
                close_fd(&f->directory);
                f->directory = open_directory(f->environment, f->name);
        }
        if (f->directory < 0)
                return f->directory;
        /* A pipe that lies there must not hold the supervisor up, neither here nor when it is full. */
        f->fd = openat(f->directory, "log", O_WRONLY | O_APPEND | O_CREAT | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC, 0600);
        if (f->fd < 0 || fstat(f->fd, &st) < 0)
                return -errno;
        if (!S_ISREG(st.st_mode)) {
                close_fd(&f->fd);
                return -ENXIO;
        }
        f->size = (uint64_t) st.st_size;
        return 0;
}

static const char *file_name(uint64_t number, char name[32]) {
        snprintf(name, 32, number == 0 ? "log" : "log.%llu", (unsigned long long) number);
        return name;
}

/* The oldest is overwritten by the one after it. */
static void rotate(struct log_file *f) {
        char from[32], to[32];
        if (f->files == 1)
                unlinkat(f->directory, "log", 0);
        for (uint64_t i = f->files - 1; i > 0; i--)
                renameat(f->directory, file_name(i - 1, from), f->directory, file_name(i, to));
        open_newest(f);
}

static void flush(struct sink *k) {
        struct log_file *f = (struct log_file *) k;
        struct stat st;
        size_t done = 0;
        if (f->held == 0)
                return;
        if (f->fd < 0 || fstat(f->fd, &st) < 0 || st.st_nlink == 0) /* somebody has deleted it */
                open_newest(f);
        if (f->size > 0 && f->size + f->held > f->most)
                rotate(f);
        while (f->fd >= 0 && done < f->held) {
                ssize_t n = write(f->fd, f->bytes + done, f->held - done);
                if (n < 0 && errno == EINTR)
                        continue;
                if (n <= 0)
                        break;
                done += (size_t) n;
        }
        f->size += done;
        if (done < f->held)
                k->lost += f->held_lines;
        f->held = f->held_lines = 0;
}

/* ---- Lines ---- */

static void put_head(struct log_file *f, enum stream stream, int ends) {
        struct timespec now;
        clock_gettime(CLOCK_REALTIME, &now);
        if (f->second != now.tv_sec || f->stamp[0] == 0) {
                struct tm date;
                gmtime_r(&now.tv_sec, &date);
                strftime(f->stamp, sizeof f->stamp, "%Y-%m-%dT%H:%M:%S", &date);
                f->second = now.tv_sec;
        }
        f->held += (size_t) snprintf(f->bytes + f->held, HEAD_MAX, "%s.%09ldZ %s %c ", f->stamp, now.tv_nsec, stream_names[stream], ends ? 'F' : 'P');
}

static void put(struct log_file *f, enum stream stream, const char *text, size_t size, int ends) {
        if (f->held > 0 && (f->held + size + HEAD_MAX > HELD || f->size + f->held + size + HEAD_MAX > f->most))
                flush(&f->sink);
        put_head(f, stream, ends);
        memcpy(f->bytes + f->held, text, size);
        f->held += size;
        f->bytes[f->held++] = '\n';
        f->held_lines++;
}

static int write_line(struct sink *k, enum stream stream, const char *text, size_t size, int ends) {
        struct log_file *f = (struct log_file *) k;
        if (k->lost > 0) {
                char said[80];
                int n = snprintf(said, sizeof said, "sbx: %llu lines before this one couldn't be kept", (unsigned long long) k->lost);
                k->lost = 0;
                put(f, STREAM_STDERR, said, (size_t) n, 1);
        }
        put(f, stream, text, size, ends);
        return 0;
}

static void close_log(struct sink *k) {
        struct log_file *f = (struct log_file *) k;
        close_fd(&f->fd);
        close_fd(&f->directory);
        free(f);
}

int log_file_open(char *const *environment, const char *name, uint64_t size, uint64_t files, struct sink **ret) {
        struct log_file *f = calloc(1, sizeof *f);
        if (f == NULL)
                return -ENOMEM;
        f->sink = (struct sink) { .write = write_line, .flush = flush, .close = close_log };
        f->most = size;
        f->files = files;
        f->fd = -1;
        f->environment = environment;
        f->name = name;
        f->directory = -1;
        int r = open_newest(f);
        if (r < 0)
                close_log(&f->sink);
        else
                *ret = &f->sink;
        return r;
}
