/* The launcher's own words, and the few options that it understands by itself. */
#pragma once
#include "executor.h"

/* All of main()'s, as the kernel laid them. */
struct sbx_words words_of(char *const *argv);

/* The value of an option that takes one, as `--option=value`, or in the word behind it, to which *at then moves;
 * NULL where word is not that option. */
const char *value_of(const char *word, const char *option, char *const **at);
