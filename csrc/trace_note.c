/* Reads what a refused call was about from the task that made it. */
#include "trace_note.h"
#include "sys.h"

#include <string.h>

static uint32_t add_path(struct notes *t, const struct flight *f, int which, struct sbx_refusal *r, uint32_t at) {
        const struct sbx_watch *watch = &t->watches[f->call];
        int path = watch->path[which], directory = watch->directory[which], cut = 0;
        char text[PATH_MAX];
        if (path < 0 && path != SBX_WATCH_DESCRIPTOR)
                return at;
        size_t n = path < 0 ? 0 : task_read_string(f->pid, f->arguments[path], text, sizeof text, &cut);
        if (n == 0 || text[0] != '/') {
                int fd = directory < 0 ? AT_FDCWD : (int) f->arguments[directory];
                r->sizes[2 * which] = (uint32_t) task_directory(f->pid, fd, (char *) t->texts + at, PATH_MAX);
                at += r->sizes[2 * which];
        }
        memcpy(t->texts + at, text, n);
        r->sizes[2 * which + 1] = (uint32_t) n;
        if (cut)
                r->flags |= REFUSAL_CUT;
        return at + (uint32_t) n;
}

static uint32_t add_bytes(struct notes *t, const struct flight *f, struct sbx_refusal *r, uint32_t at) {
        const struct sbx_watch *watch = &t->watches[f->call];
        uint64_t size = TASK_BYTES;
        if (watch->bytes < 0)
                return at;
        if (watch->bytes_size >= 0 && f->arguments[watch->bytes_size] < size)
                size = f->arguments[watch->bytes_size];
        r->sizes[4] = (uint32_t) task_read(f->pid, f->arguments[watch->bytes], t->texts + at, size);
        return at + r->sizes[4];
}

static const char *base_name(const char *text, size_t n, size_t *ret_len) {
        size_t from = n;
        while (from > 0 && text[from - 1] != '/')
                from--;
        *ret_len = n - from;
        return text + from;
}

/* The name that a search is for: that of the first path. */
static void remember(struct notes *t, const struct sbx_refusal *r, uint32_t index) {
        struct recent *recent = &t->recent[(uint32_t) r->pid % RECENT_TASKS];
        size_t len;
        const char *name = base_name((const char *) r->texts + r->sizes[0], r->sizes[1], &len);
        if (len == 0 || len > NAME_MAX)
                return;
        if (recent->pid != r->pid || strncmp(recent->name, name, len) != 0 || recent->name[len] != 0)
                recent->count = 0;
        recent->pid = r->pid;
        memcpy(recent->name, name, len);
        recent->name[len] = 0;
        uint32_t at = recent->count < RECENT_NAMES ? recent->count++ : RECENT_NAMES - 1;
        recent->entries[at].index = index;
        recent->entries[at].first = r->first;
}

/* A search along a path ends well: what failed on the way did no harm. */
void note_found(struct notes *t, pid_t pid, const char *name, size_t len) {
        struct recent *recent = &t->recent[(uint32_t) pid % RECENT_TASKS];
        if (recent->pid != pid || recent->count == 0)
                return;
        if (strncmp(recent->name, name, len) == 0 && recent->name[len] == 0)
                for (uint32_t i = 0; i < recent->count; i++) {
                        uint32_t index = recent->entries[i].index;
                        if (index < t->table.count && t->table.entries[index].first == recent->entries[i].first)
                                t->table.entries[index].made_good++;
                }
        recent->count = 0;
}

static struct sbx_refusal *count(struct notes *t, struct sbx_refusal *seen) {
        static const uint64_t none[6];
        int known = seen->call >= 0 && (uint32_t) seen->call < SBX_TRACE_CALLS, is_new;
        if (!t->started)
                seen->flags |= REFUSAL_LAUNCH;
        struct sbx_refusal *r = table_count(&t->table, seen, known ? t->watches[seen->call].masks : none, &is_new);
        if (r != NULL && is_new)
                task_program(seen->pid, r->program);
        return r;
}

void note_refusal(struct notes *t, const struct flight *f, int error, uint32_t flags) {
        int known = f->call >= 0 && (uint32_t) f->call < SBX_TRACE_CALLS;
        struct sbx_refusal seen = { .call = f->call, .error = error, .flags = flags, .pid = f->pid, .texts = t->texts };
        uint32_t at = 0;
        memcpy(seen.arguments, f->arguments, sizeof seen.arguments);
        if (known) {
                at = add_path(t, f, 0, &seen, at);
                at = add_path(t, f, 1, &seen, at);
                add_bytes(t, f, &seen, at);
        }
        struct sbx_refusal *r = count(t, &seen);
        if (r != NULL && known && t->watches[f->call].path[0] >= 0 && !(flags & REFUSAL_BY_FILTER))
                remember(t, r, (uint32_t) (r - t->table.entries));
}

static void note_success(struct notes *t, const struct flight *f) {
        const struct recent *recent = &t->recent[(uint32_t) f->pid % RECENT_TASKS];
        int path = t->watches[f->call].path[0], cut = 0;
        char text[PATH_MAX];
        size_t len;
        if (path < 0 || recent->pid != f->pid || recent->count == 0)
                return;
        size_t n = task_read_string(f->pid, f->arguments[path], text, sizeof text, &cut);
        const char *name = base_name(text, n, &len);
        note_found(t, f->pid, name, len);
}

static int counts_as_refusal(const struct sbx_watch *watch, int64_t error) {
        return error >= 0 && error < 128 && (watch->errors[error / 64] >> (error % 64) & 1);
}

void note_ended(struct notes *t, const struct flight *f, int64_t result) {
        if (counts_as_refusal(&t->watches[f->call], -result))
                note_refusal(t, f, (int) -result, 0);
        else if (result >= 0)
                note_success(t, f);
}

/* no_new_privs and nosuid are the sandbox's, and execve says nothing of them. */
void note_set_id(struct notes *t, pid_t pid) {
        struct stat st;
        cleanup_fd int fd = task_open(pid, "exe", O_PATH);
        if (fd < 0 || fstat(fd, &st) < 0 || !((st.st_mode & S_ISUID) || (st.st_mode & (S_ISGID | S_IXGRP)) == (S_ISGID | S_IXGRP)))
                return;
        struct sbx_refusal seen = { .call = SYS_execve, .flags = REFUSAL_SET_ID, .pid = pid, .texts = t->texts };
        seen.sizes[1] = (uint32_t) task_read_link(pid, "exe", (char *) t->texts, PATH_MAX);
        count(t, &seen);
}
