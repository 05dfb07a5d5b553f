/* The launcher's way to Python, which does whatever needs more than a finished plan. */
#pragma once
#include <string.h>
#include <unistd.h>

#define EXIT_SBX 125
#define EXIT_ENDED 124 /* sbx has ended it, whatever it made of that: as timeout(1) says it */

static inline void say(const char *text) {
        ssize_t n = write(2, text, strlen(text));
        (void) n;
}

/* `sbx ARGUMENTS...` by the interpreter that sbx was installed with. */
void run_python(char *const *arguments, char **environment) __attribute__((noreturn));
