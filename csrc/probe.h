/* A look at an address from within a sandbox, as service.health asks for it: no program of the sandbox's is needed. */
#pragma once
#include <stdint.h>

/* What the process writes to its standard output before it ends with 1. */
enum probe_step {
        PROBE_WORDS = 1,   /* it was asked for something else */
        PROBE_SOCKET = 2,
        PROBE_CONNECT = 3,
        PROBE_SEND = 4,
        PROBE_ANSWER = 5,  /* there was none, or none of HTTP */
        PROBE_STATUS = 6,  /* of HTTP, and not from 200 to 399 */
};
struct probe_result {
        uint32_t step;
        int32_t error; /* errno */
        uint32_t status;
};

/* argv: "tcp", "http" or "unix"; the address, the port; the request as it is sent.  Ends the process: async-signal-safe
 * calls only. */
void probe(char *const *argv) __attribute__((noreturn));
