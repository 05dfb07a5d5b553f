/* Files of key=value: read, looked into, replaced as a whole. */
#include "fields.h"
#include "sys.h"

#include <stdio.h>
#include <string.h>

ssize_t fields_read(int directory, const char *name, char *text, size_t size) {
        cleanup_fd int fd = openat(directory, name, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
        ssize_t n = fd < 0 ? -1 : read(fd, text, size - 1);
        text[n > 0 ? n : 0] = 0;
        return n < 0 ? -errno : n;
}

const char *field_of(const char *text, ssize_t size, const char *key) {
        size_t n = strlen(key);
        for (const char *at = text; at < text + size; at += strlen(at) + 1)
                if (strncmp(at, key, n) == 0 && at[n] == '=')
                        return at + n + 1;
        return NULL;
}

int fields_replace(int directory, const char *name, const char *text, size_t size) {
        char new[64];
        snprintf(new, sizeof new, "%s.new", name);
        cleanup_fd int fd = openat(directory, new, O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW | O_CLOEXEC, 0600);
        if (fd < 0)
                return -errno;
        ssize_t n = write(fd, text, size);
        if (n != (ssize_t) size)
                return n < 0 ? -errno : -ENOSPC;
        return renameat(directory, new, directory, name) < 0 ? -errno : 0;
}
