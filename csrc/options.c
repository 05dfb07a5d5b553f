/* Options as getopt_long(3) takes them. */
#include "options.h"

#include <stddef.h>
#include <string.h>

struct sbx_words words_of(char *const *argv) {
        char *const *last = argv;
        while (last[1] != NULL)
                last++;
        return (struct sbx_words) { argv[0], (size_t) (*last + strlen(*last) + 1 - argv[0]) };
}

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
