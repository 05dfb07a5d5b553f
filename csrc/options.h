/* The few options that the launcher understands by itself. */
#pragma once

/* The value of an option that takes one, as `--option=value`, or in the word behind it, to which *at then moves;
 * NULL where word is not that option. */
const char *value_of(const char *word, const char *option, char *const **at);
