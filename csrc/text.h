/* Text without stdio, which would make the launcher larger than all the rest of it. */
#pragma once
#include <stdint.h>
#include <string.h>

/* Each returns the end of what is written there, a NUL. */
static inline char *append(char *at, const char *text) {
        size_t n = strlen(text);
        memcpy(at, text, n + 1);
        return at + n;
}

static inline char *append_number(char *at, uint64_t n) {
        char text[24], *end = text + sizeof text;
        *--end = 0;
        do
                *--end = (char) ('0' + n % 10);
        while ((n /= 10) > 0);
        return append(at, end);
}
