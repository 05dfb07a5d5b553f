/* Small files of key=value, a NUL behind each, by which supervisors tell others of their sandboxes. */
#pragma once
#include <stddef.h>
#include <sys/types.h>

/* At most size - 1 bytes of the file and a NUL: how many there are, or -errno; text is empty then. */
ssize_t fields_read(int directory, const char *name, char *text, size_t size);

/* The value in so many bytes that a NUL follows, or NULL. */
const char *field_of(const char *text, ssize_t size, const char *key);

/* The file as a whole, so that nobody reads half of one: 0, or -errno. */
int fields_replace(int directory, const char *name, const char *text, size_t size);
