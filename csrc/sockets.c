/* Socket activation: the sockets that a service manager has opened go on to the payload (sd_listen_fds(3)). */
#include "cache.h"
#include "service.h"
#include "sys.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define FIRST 3
#define MOST 1024u
#define STORED "sbx." /* before the names of what the payload has stored; notify.c */

/* How many were handed over to this very process. */
static uint32_t count_of(char *const *environment) {
        uint64_t count = cache_number(environment, "LISTEN_FDS");
        return cache_number(environment, "LISTEN_PID") != (uint64_t) getpid() || count > MOST ? 0 : (uint32_t) count;
}

static int is_same(const char *name, size_t size, const char *other) {
        return strlen(other) == size && memcmp(name, other, size) == 0;
}

struct names {
        const struct context *c;
        const struct plan_ref *expected;
        uint32_t count;
        uint8_t *found; /* for each expected one */
        char *at;       /* where the payload's list is written */
};

/* One of those handed over: expected, or something that the payload has stored itself. */
static int take_name(struct names *n, const char *name, size_t size) {
        size_t prefix = strlen(STORED);
        int known = size > prefix && memcmp(name, STORED, prefix) == 0;
        if (known) {
                name += prefix;
                size -= prefix;
        }
        for (uint32_t i = 0; i < n->count && !known; i++)
                if (is_same(name, size, string_of(n->c, n->expected[i])))
                        known = n->found[i] = 1;
        memcpy(n->at, name, size);
        n->at += size;
        *n->at++ = ':';
        return known ? 0 : -EEXIST;
}

static int take_names(struct names *n, const char *given, uint32_t fds) {
        int r = 0;
        for (uint32_t i = 0; i < fds && r >= 0; i++) {
                size_t size = strcspn(given, ":");
                r = take_name(n, given, size);
                given += size + (given[size] == ':');
        }
        for (uint32_t i = 0; i < n->count && r >= 0; i++)
                if (!n->found[i])
                        r = -ENOENT;
        return r;
}

static int check_descriptors(uint32_t fds) {
        struct stat st;
        for (uint32_t i = 0; i < fds; i++) {
                if (fstat(FIRST + (int) i, &st) < 0)
                        return -errno;
                if (S_ISDIR(st.st_mode)) /* a way out of the root */
                        return -EISDIR;
        }
        return 0;
}

/* -ENOENT: one is missing; -EEXIST: there is one that isn't expected. */
int prepare_pass_sockets(struct context *c, const void *payload) {
        const struct op_pass_sockets *op = payload;
        struct service *v = c->service;
        if (v == NULL)
                return op->names.len > 0 ? -EOPNOTSUPP : 0;
        uint32_t fds = count_of(c->launch->environment);
        if (fds == 0)
                return op->names.len > 0 ? -ENOENT : 0;
        const char *given = cache_variable(c->launch->environment, "LISTEN_FDNAMES");
        size_t room = (given == NULL ? 0 : strlen(given)) + strlen("LISTEN_FDNAMES=") + 16 + 2 * (size_t) fds;
        v->socket_names = calloc(1, room);
        uint8_t *found = calloc(op->names.len + 1, 1);
        int r = v->socket_names == NULL || found == NULL ? -ENOMEM : 0;
        if (r >= 0) {
                struct names n = { c, plan_list(c->plan, op->names), op->names.len, found, NULL };
                n.at = v->socket_names + sprintf(v->socket_names, "LISTEN_FDNAMES=");
                r = take_names(&n, given == NULL ? "" : given, fds);
                n.at[-1] = 0;
        }
        free(found);
        if (r >= 0)
                r = check_descriptors(fds);
        if (r >= 0)
                v->socket_count = fds;
        return r;
}

/* In the payload's own process, once all else is sealed. */
int sockets_keep(const struct service *v) {
        for (uint32_t i = 0; i < v->socket_count; i++)
                if (fcntl(FIRST + (int) i, F_SETFD, 0) < 0)
                        return -errno;
        return 0;
}

/* They are the payload's now: what it closes is to be closed. */
void sockets_release(struct service *v) {
        for (uint32_t i = 0; i < v->socket_count; i++)
                close(FIRST + (int) i);
}
