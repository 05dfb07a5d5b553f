/* Events: one write each, so that those of many supervisors stand whole in one file. */
#include "events.h"
#include "sys.h"

#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <time.h>

#define EVENTS ".events" /* no sandbox can have this name */
#define FILE_MAX (1 << 20)

/* Two that find it full must not both move it away. */
static void rotate(int runtime, int fd) {
        struct stat ours, there;
        if (flock(fd, LOCK_EX | LOCK_NB) < 0) /* whoever else has it does this or nothing */
                return;
        if (fstat(fd, &ours) >= 0 && fstatat(runtime, EVENTS, &there, AT_SYMLINK_NOFOLLOW) >= 0 && ours.st_ino == there.st_ino)
                renameat(runtime, EVENTS, runtime, EVENTS ".1");
}

static int open_events(int runtime) {
        struct stat st;
        /* What isn't a file, as a pipe, could keep a supervisor waiting. */
        cleanup_fd int fd = openat(runtime, EVENTS, O_WRONLY | O_APPEND | O_CREAT | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC, 0600);
        if (fd < 0)
                return -errno;
        return fstat(fd, &st) >= 0 && S_ISREG(st.st_mode) ? take_fd(&fd) : -EINVAL;
}

void events_tell(const struct sbx_launch *launch, const char *event, const char *more) {
        char line[1024];
        struct timespec now;
        struct stat st;
        if (launch->record == NULL || launch->record->runtime_fd < 0)
                return;
        int runtime = launch->record->runtime_fd;
        cleanup_fd int fd = open_events(runtime);
        if (fd >= 0 && fstat(fd, &st) >= 0 && st.st_size > FILE_MAX) {
                rotate(runtime, fd);
                close(fd);
                fd = open_events(runtime);
        }
        clock_gettime(CLOCK_REALTIME, &now);
        int n = snprintf(line, sizeof line, "{\"time\":%lld.%06ld,\"name\":\"%s\",\"event\":\"%s\"%s}\n", (long long) now.tv_sec, now.tv_nsec / 1000,
                         launch->record->name, event, more);
        ssize_t written = fd >= 0 && n > 0 && (size_t) n < sizeof line ? write(fd, line, (size_t) n) : 0;
        (void) written;
}

void events_tell_reason(const struct sbx_launch *launch, const char *event, const char *reason) {
        char more[768] = "";
        size_t n = 0;
        if (*reason != 0)
                n = (size_t) snprintf(more, sizeof more, ",\"reason\":\"");
        for (; *reason != 0 && n < sizeof more - 4; reason++) {
                if (*reason == '"' || *reason == '\\')
                        more[n++] = '\\';
                more[n++] = *reason >= ' ' && *reason <= '~' ? *reason : '?';
        }
        if (n > 0)
                strcpy(more + n, "\"");
        events_tell(launch, event, more);
}

/* In the order of enum sbx_cause; sandbox/process/ending.py has the same names. */
static const char *const causes[] = {
        "", "exited", "signaled", "memory", "pids", "filter", "timeout", "watchdog", "stopped", "failed", "unhealthy",
};

void events_tell_end(const struct sbx_launch *launch, const struct sbx_exit *end) {
        char more[96];
        if (end->cause == 0 || end->cause >= sizeof causes / sizeof *causes)
                return;
        if (WIFSIGNALED(end->status))
                snprintf(more, sizeof more, ",\"cause\":\"%s\",\"signal\":%d", causes[end->cause], WTERMSIG(end->status));
        else
                snprintf(more, sizeof more, ",\"cause\":\"%s\",\"code\":%d", causes[end->cause], WEXITSTATUS(end->status));
        events_tell(launch, "exited", more);
}
