/* The payload's NOTIFY_SOCKET: a socket of the sandbox's own, whose words are looked at before anybody hears them. */
#pragma once
#include "service.h"

int notify_fd(const struct notify *n);
void notify_free(struct notify *n);
int notify_attend(struct notify *n, struct service *v);
/* Takes what is there yet, and hands over what waits. */
void notify_end(struct notify *n);
/* Where the payload sees it. */
const char *notify_path(const struct notify *n);
