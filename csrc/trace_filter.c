/* Carries out the few instructions that the plan's filters consist of (sandbox/plan/bpf.py). */
#include "trace_filter.h"

#include <linux/filter.h>
#include <linux/seccomp.h>
#include <string.h>

/* Jumps go forward only, so that the end is always reached. */
static uint32_t answer(const struct sbx_filter *f, const struct seccomp_data *data) {
        uint32_t a = 0;
        for (uint32_t at = 0; at < f->count; at++) {
                struct sock_filter op;
                memcpy(&op, f->instructions + at * sizeof op, sizeof op);
                switch (op.code) {
                case BPF_LD | BPF_W | BPF_ABS:
                        if (op.k > sizeof *data - sizeof a)
                                return SECCOMP_RET_KILL_PROCESS;
                        memcpy(&a, (const uint8_t *) data + op.k, sizeof a);
                        break;
                case BPF_ALU | BPF_AND | BPF_K:
                        a &= op.k;
                        break;
                case BPF_JMP | BPF_JA:
                        if (op.k >= f->count - at)
                                return SECCOMP_RET_KILL_PROCESS;
                        at += op.k;
                        break;
                case BPF_JMP | BPF_JEQ | BPF_K:
                        at += a == op.k ? op.jt : op.jf;
                        break;
                case BPF_JMP | BPF_JGE | BPF_K:
                        at += a >= op.k ? op.jt : op.jf;
                        break;
                case BPF_JMP | BPF_JSET | BPF_K:
                        at += (a & op.k) != 0 ? op.jt : op.jf;
                        break;
                case BPF_RET | BPF_K:
                        return op.k;
                default:
                        return SECCOMP_RET_KILL_PROCESS;
                }
        }
        return SECCOMP_RET_KILL_PROCESS;
}

/* The kernel compares actions as signed numbers, so that the least permissive one is the lowest. */
static int32_t action_of(uint32_t answer) {
        return (int32_t) (answer & SECCOMP_RET_ACTION_FULL);
}

uint32_t sbx_filters_answer(const struct sbx_filter *filters, uint32_t count, const void *seccomp_data) {
        uint32_t least = SECCOMP_RET_ALLOW;
        while (count-- > 0) {
                uint32_t one = answer(&filters[count], seccomp_data);
                if (action_of(one) < action_of(least))
                        least = one;
        }
        return least;
}
