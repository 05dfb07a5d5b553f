/* `sbx exec`: asks a live sandbox for another program, and stands for it until its end. */
#pragma once
#include "executor.h"

struct joining {
        struct sbx_failure failure; /* stage 0: none */
        char *const *command;
        int plan_fd; /* the sandbox's plan, for the words; -1: it can't be had */
};

/* words are those behind `exec`.  The exit code; -1 where Python has to look at it, or *ret says what failed. */
int join(char *const *words, char *const *environment, struct joining *ret);
