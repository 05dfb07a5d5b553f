/* Runs a launch of sbx and lets one system call of it fail, exactly: the N-th of one of its processes, or every one of
 * a kind.
 *
 *   inject OUT GENERATION record -- COMMAND...
 *   inject OUT GENERATION at ROLE N ERRNO -- COMMAND...       ERRNO 0: SIGKILL in place of the call
 *   inject OUT GENERATION each ROLE NUMBER ERRNO -- COMMAND...  in each role for another word
 *
 * Roles: supervisor (the command), init (its first child), payload (the first child of that, until its exec).
 * Calls are counted from 1 in each role, from the supervisor's exec number GENERATION on (0: its first), to the next.
 * OUT tells "call ROLE N NUMBER" (record), "hit ROLE N NUMBER", "end STATUS" as wait has it, and "left PID".
 * A call that comes while the program runs waits until that has told all it has to, which it says by SIGURG: the program
 * is stopped then, and stays so until somebody kills it, or for MOMENT_US where the supervisor lives on.
 * Everything that the launch has started is waited for: what outlives it for SECONDS is left, told, and killed. */
#include <elf.h>
#include <errno.h>
#include <signal.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/uio.h>
#include <sys/user.h>
#include <sys/wait.h>
#include <unistd.h>

#define SECONDS 20
#define ROUNDS 5 /* of killing what is left */
#define MOMENT_US 300000
#define MAX_TASKS 64
#define BIRTHS (PTRACE_O_TRACEFORK | PTRACE_O_TRACEVFORK | PTRACE_O_TRACECLONE)
#define OPTIONS (PTRACE_O_TRACESYSGOOD | BIRTHS | PTRACE_O_TRACEEXEC | PTRACE_O_EXITKILL)

enum role { SUPERVISOR, INIT, PAYLOAD, OTHER };
static const char *const roles[] = { "supervisor", "init", "payload", "other" };

struct task {
        pid_t pid;
        enum role role;
        int known;   /* its parent has told its role */
        int waits;   /* for that */
        int failing; /* the call that it is in */
        unsigned children;
};

static struct task tasks[MAX_TASKS];
static unsigned task_count, counts[OTHER + 1];
static enum role wanted_role = OTHER;
static unsigned wanted_call;
static long wanted_number = -1;
static int recording, fault, generation, execs = -1, is_hit;
static struct task *program; /* until it has told all */
static struct task *ending;  /* the program, stopped where it has */
static struct task *held;    /* at the call that is to fail, until then */
static long held_number;
static FILE *out;

static void fail(const char *what) {
        perror(what);
        exit(99);
}

static struct task *task_of(pid_t pid) {
        for (unsigned i = 0; i < task_count; i++)
                if (tasks[i].pid == pid)
                        return &tasks[i];
        if (task_count == MAX_TASKS)
                fail("inject: too many processes");
        tasks[task_count] = (struct task) { .pid = pid, .role = OTHER };
        return &tasks[task_count++];
}

static void set_number(pid_t pid, long number) {
#ifdef __x86_64__
        if (ptrace(PTRACE_POKEUSER, pid, offsetof(struct user_regs_struct, orig_rax), number) < 0)
#else
        int value = (int) number;
        struct iovec io = { &value, sizeof value };
        if (ptrace(PTRACE_SETREGSET, pid, NT_ARM_SYSTEM_CALL, &io) < 0)
#endif
                fail("inject: the call's number");
}

static void set_result(pid_t pid, long result) {
#ifdef __x86_64__
        if (ptrace(PTRACE_POKEUSER, pid, offsetof(struct user_regs_struct, rax), result) < 0)
#else
        struct user_regs_struct regs;
        struct iovec io = { &regs, sizeof regs };
        if (ptrace(PTRACE_GETREGSET, pid, NT_PRSTATUS, &io) < 0)
                fail("inject: the registers");
        regs.regs[0] = (unsigned long) result;
        if (ptrace(PTRACE_SETREGSET, pid, NT_PRSTATUS, &io) < 0)
#endif
                fail("inject: the call's result");
}

static void strike(struct task *t, long number) {
        is_hit = 1;
        if (fault == 0)
                kill(t->pid, SIGKILL);
        else {
                if (number != SYS_close) /* what fails there is closed all the same */
                        set_number(t->pid, -1);
                t->failing = 1;
        }
}

/* 1 where it has to wait for the program. */
static int at_call(struct task *t) {
        struct __ptrace_syscall_info info;
        if (ptrace(PTRACE_GET_SYSCALL_INFO, t->pid, sizeof info, &info) < 0)
                return 0; /* killed meanwhile */
        if (info.op == PTRACE_SYSCALL_INFO_EXIT && t->failing) {
                t->failing = 0;
                set_result(t->pid, -fault);
        }
        if (info.op != PTRACE_SYSCALL_INFO_ENTRY)
                return 0;
        unsigned n = ++counts[t->role];
        long number = (long) info.entry.nr;
        if (recording)
                fprintf(out, "call %s %u %ld\n", roles[t->role], n, number);
        if (wanted_number >= 0 ? number != wanted_number : n != wanted_call)
                return 0;
        if (t->role != wanted_role && (wanted_number < 0 || wanted_role != OTHER))
                return 0;
        fprintf(out, "hit %s %u %ld\n", roles[t->role], n, number);
        if (program != NULL && held == NULL) {
                held = t;
                held_number = number;
                return 1;
        }
        strike(t, number);
        return 0;
}

static int is_counted(const struct task *t) {
        return t->role != OTHER && execs == generation;
}

static int is_watched(const struct task *t) {
        if (t->failing)
                return 1;
        return is_counted(t) && (recording || wanted_number >= 0 || (t->role == wanted_role && !is_hit));
}

static void go_on(struct task *t, int sig) {
        t->waits = 0;
        if (t->role == OTHER && t != program)
                ptrace(PTRACE_DETACH, t->pid, 0, sig);
        else
                ptrace(is_watched(t) ? PTRACE_SYSCALL : PTRACE_CONT, t->pid, 0, sig);
}

static void within(long us) {
        struct itimerval time = { .it_value = { us / 1000000, us % 1000000 } };
        setitimer(ITIMER_REAL, &time, NULL);
}

/* It has told all, or has ended. */
static void at_end_of_program(struct task *t, int stopped) {
        program = NULL;
        if (held == NULL) {
                if (stopped)
                        go_on(t, 0);
                return;
        }
        ending = stopped ? t : NULL;
        strike(held, held_number);
        go_on(held, 0);
        held = NULL;
        within(stopped ? MOMENT_US : SECONDS * 1000000L);
}

/* The kernel starts the child and stops the parent in any order. */
static void at_birth(struct task *t) {
        unsigned long pid = 0;
        if (ptrace(PTRACE_GETEVENTMSG, t->pid, 0, &pid) < 0)
                return;
        struct task *child = task_of((pid_t) pid);
        child->known = 1;
        if (is_counted(t) && t->role != PAYLOAD && t->children++ == 0)
                child->role = t->role + 1;
        if (child->waits)
                go_on(child, 0);
}

static void at_exec(struct task *t) {
        if (t->role == SUPERVISOR) {
                execs++;
                return;
        }
        t->role = OTHER; /* the program itself: what it does is its own */
        program = t;
}

static void at_stop(struct task *t, int status) {
        int sig = WSTOPSIG(status), event = status >> 16, is_call = sig == (SIGTRAP | 0x80);
        if (is_call && at_call(t))
                return;
        if (event == 0 && sig == SIGURG && t == program) {
                at_end_of_program(t, 1);
                return;
        }
        if (event == PTRACE_EVENT_EXEC)
                at_exec(t);
        else if (event != 0)
                at_birth(t);
        else if (sig == SIGSTOP && !t->known) { /* its first stop */
                t->waits = 1;
                return;
        }
        go_on(t, event != 0 || is_call || sig == SIGSTOP ? 0 : sig);
}

static void too_late(int sig) {
        (void) sig;
}

static void kill_the_rest(void) {
        char path[64], line[256];
        for (unsigned i = 0; i < task_count; i++)
                if (tasks[i].pid != 0) {
                        fprintf(out, "left %d\n", (int) tasks[i].pid);
                        kill(tasks[i].pid, SIGKILL);
                }
        /* Those that were let go, and have come to this process as their reaper. */
        snprintf(path, sizeof path, "/proc/self/task/%d/children", (int) getpid());
        FILE *list = fopen(path, "re");
        if (list != NULL && fgets(line, sizeof line, list) != NULL)
                for (char *word = strtok(line, " "); word != NULL; word = strtok(NULL, " "))
                        kill((pid_t) atol(word), SIGKILL);
}

static int follow(pid_t supervisor) {
        int status, ended = -1, rounds = 0;
        struct sigaction action = { .sa_handler = too_late };
        sigaction(SIGALRM, &action, NULL);
        within(SECONDS * 1000000L);
        for (;;) {
                pid_t pid = waitpid(-1, &status, __WALL);
                if (pid < 0 && errno == ECHILD)
                        return ended;
                if (pid < 0 && ending != NULL) { /* nobody has killed it */
                        if (ended < 0)
                                go_on(ending, 0);
                        ending = NULL;
                        within(SECONDS * 1000000L);
                        continue;
                }
                if (pid < 0) {
                        if (rounds++ == ROUNDS) /* it can't be killed */
                                exit(97);
                        kill_the_rest();
                        within(1000000);
                        continue;
                }
                struct task *t = task_of(pid);
                if (WIFSTOPPED(status)) {
                        at_stop(t, status);
                        continue;
                }
                t->pid = 0;
                if (t == program)
                        at_end_of_program(t, 0);
                if (t == ending) {
                        ending = NULL;
                        within(SECONDS * 1000000L);
                }
                if (pid == supervisor) {
                        ended = status;
                        fprintf(out, "end %d\n", status);
                }
        }
}

static enum role role_of(const char *word) {
        enum role role = SUPERVISOR;
        while (role < OTHER && strcmp(roles[role], word) != 0)
                role++;
        return role;
}

int main(int argc, char **argv) {
        char **command = argv + 3;
        if (argc < 6)
                exit(98);
        out = fopen(argv[1], "we");
        if (out == NULL)
                fail("inject: the file to tell it in");
        generation = atoi(argv[2]);
        recording = strcmp(argv[3], "record") == 0;
        if (!recording && argc > 7) {
                wanted_role = role_of(argv[4]);
                if (strcmp(argv[3], "each") == 0)
                        wanted_number = atol(argv[5]);
                else
                        wanted_call = (unsigned) atol(argv[5]);
                fault = atoi(argv[6]);
        }
        while (*command != NULL && strcmp(*command, "--") != 0)
                command++;
        if (*command == NULL)
                exit(98);
        prctl(PR_SET_CHILD_SUBREAPER, 1);
        pid_t pid = fork();
        if (pid == 0) {
                ptrace(PTRACE_TRACEME, 0, 0, 0);
                raise(SIGSTOP);
                execv(command[1], command + 1);
                fail("inject: the command");
        }
        int status;
        if (pid < 0 || waitpid(pid, &status, __WALL) != pid || !WIFSTOPPED(status))
                fail("inject: the start");
        if (ptrace(PTRACE_SETOPTIONS, pid, 0, OPTIONS) < 0)
                fail("inject: to trace it");
        struct task *first = task_of(pid);
        first->role = SUPERVISOR;
        first->known = 1;
        go_on(first, 0);
        status = follow(pid);
        fclose(out);
        return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}
