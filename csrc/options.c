/* Options as getopt_long(3) takes them. */
#include "options.h"

#include <stddef.h>
#include <string.h>

const char *value_of(const char *word, const char *option, char *const **at) {
        size_t n = strlen(option);
        if (strncmp(word, option, n) != 0)
                return NULL;
        if (word[n] == '=' && n > 2)
                return word + n + 1;
        if (word[n] == 0 && (*at)[1] != NULL)
                return *++*at;
        return NULL;
}
