/* Descriptors that the payload has handed over. */
#pragma once
#include <stdint.h>

/* Closes them without waiting for what the payload decides: the last close of a socket may (SO_LINGER), for as long as
 * its other end likes, and whatever lies in its queue is closed with it. */
void close_foreign(const int *fds, uint32_t count);
