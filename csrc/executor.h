/* Carries a plan out.  One executor, two doors: the launcher links it, Python loads it as sandbox._core. */
#pragma once
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

struct plan;

/* Where a launch failed, for Python to put into words. */
enum sbx_stage {
        STAGE_PREPARE = 1, /* before the clone, in the supervisor */
        STAGE_CLONE = 2,
        STAGE_IDS = 3,     /* id maps, written from outside */
        STAGE_SANDBOX = 4, /* in the sandbox's first process */
        STAGE_PAYLOAD = 5, /* in the payload, before exec */
        STAGE_TRACE = 6,   /* launch.attach failed */
        STAGE_RECORD = 7,  /* its name, or its place in the runtime directory */
};

/* What more an errno of Execute means. */
enum sbx_detail {
        DETAIL_NONE = 0,
        DETAIL_INTERPRETER = 1, /* the file is there; its interpreter isn't */
        DETAIL_NOT_FOUND = 2,
        DETAIL_NOT_A_DEVICE = 3,
        DETAIL_MOUNT_POINT = 4, /* the mount point isn't there and can't be made */
        DETAIL_ENDED = 6, /* of no op: the sandbox ended before it could say that the program runs, nor why */
        DETAIL_UNHEARD = 7, /* of no op: the sandbox can't be watched any more; its program may have run */
        /* Of the ops on cgroups */
        DETAIL_NO_HIERARCHY = 16,     /* none of that version is mounted there, or this process is in none */
        DETAIL_NOT_DELEGATED = 17,    /* the cgroup belongs to somebody else */
        DETAIL_CGROUP_READ_ONLY = 18,
        DETAIL_NO_CONTROLLER = 19,    /* it isn't there, or not given to the cgroup in question */
        DETAIL_CGROUP_BUSY = 20,      /* processes or threads are where only cgroups may be */
        DETAIL_BELOW_USE = 21,        /* more is in use than the limit */
        DETAIL_VALUE_REFUSED = 22,
        DETAIL_CGROUP_MADE = 23,      /* the directory can't be made */
        DETAIL_CGROUP_ENTERED = 24,   /* the process can't be put there */
        /* Of any op, where the sandbox's own limit is why */
        DETAIL_MEMORY_LIMIT = 25,
        DETAIL_PIDS_LIMIT = 26,
        DETAIL_DESCRIPTOR = 1 << 24, /* and the number that a call wants to fill */
};

struct sbx_failure {
        uint32_t stage; /* 0: none */
        uint32_t op;    /* index in the plan */
        int32_t error;  /* errno */
        uint32_t detail;
};

#define SBX_MAX_MARKS 512
struct sbx_mark {
        uint32_t stage; /* enum sbx_stage, or 0 for the supervisor's own marks */
        uint32_t op;    /* index of the op that ended, or enum sbx_moment */
        int64_t ns;     /* CLOCK_MONOTONIC */
};
enum sbx_moment { MOMENT_START = 0, MOMENT_PREPARED = 1, MOMENT_CLONED = 2, MOMENT_MAPPED = 3, MOMENT_STARTED = 4, MOMENT_PAYLOAD_ENDED = 5, MOMENT_REAPED = 6 };
struct sbx_timing {
        uint32_t count; /* of those taken; no more than SBX_MAX_MARKS are kept */
        struct sbx_mark marks[SBX_MAX_MARKS];
};

#define SBX_NAME_MAX 64
/* A live sandbox's place in the runtime directory (record.h). */
struct sbx_record {
        int runtime_fd, directory_fd, control_fd; /* -1: it has none */
        char name[SBX_NAME_MAX + 1];
};
#define SBX_NO_RECORD ((struct sbx_record) { .runtime_fd = -1, .directory_fd = -1, .control_fd = -1 })

/* What /proc/PID/cmdline shows of this process: all its words, one behind the other. */
struct sbx_words {
        char *at; /* NULL: they are nobody's */
        size_t size;
};

struct sbx_launch {
        const struct plan *plan;
        char *const *argv;         /* takes the place of the plan's command; NULL: the plan's */
        struct sbx_words words;    /* the caller's own, profile and settings among them: the sandbox's first process hides them */
        char *const *environment;  /* the caller's, of which the plan's names are passed */
        uint32_t terminal;         /* bits 0 to 2: these standard streams become a new pseudo-terminal */
        uint32_t window;           /* of that terminal, where it isn't one of the caller's: rows << 16 | columns */
        struct sbx_timing *timing; /* NULL: none is taken */
        uint32_t served;           /* what runs comes as a call over `channel`, which takes the reports too (serve.h) */
        int channel;
        uint32_t probes;           /* joined, and the words are for the probe in place of a program (probe.h) */
        uint32_t joined;           /* served, beside a payload that has made the environment and has its descriptors */
        const int *private_fds;    /* the caller's own, which the sandbox closes before anything else; -1: none */
        uint32_t private_count;
        int (*attach)(pid_t pid);  /* NULL: none. The first process waits for its end; 0 or -errno. Whoever
                                    * traces it reaps it: sbx_collect takes the place of sbx_supervise */
        struct sbx_record *record; /* SBX_NO_RECORD at first; NULL: others aren't to know of it */
        const char *name;          /* that it is recorded under; NULL: one is made up */
        int plan_fd;               /* where others can read the plan, of the supervisor's; 0: nowhere */
        int ready_fd;              /* gets a byte once a service is ready, which nobody attends to by hand; 0: none */
};

/* An affinity, while its owner stays on one processor; size 0: it doesn't. */
struct sbx_cpus {
        uint64_t mask[16];
        int size;
};

#define SBX_CGROUP_NAME (SBX_NAME_MAX + 12) /* with a number behind it, as one that is taken over has */
#define SBX_MAX_CGROUPS 8
struct sbx_cgroup {
        int directory;        /* of its own: .../sbx/NAME */
        uint32_t number;      /* behind the name, where that was taken; 0: none */
        uint32_t controllers; /* enum controller */
};
/* One of version 2, or one in each hierarchy of version 1 that is needed. */
struct sbx_cgroups {
        uint32_t version; /* 0: the sandbox has none */
        uint32_t count;
        char name[SBX_CGROUP_NAME];
        struct sbx_cgroup at[SBX_MAX_CGROUPS];
};

enum sbx_measured {
        SBX_MEASURED_MEMORY = 1,
        SBX_MEASURED_CPU = 2,
        SBX_MEASURED_PIDS = 4,
        SBX_MEASURED_IO = 8,
        SBX_MEASURED_THROTTLING = 16,
};
/* What all processes of a sandbox have used, as its cgroups have counted it; what isn't in `measured` is getrusage's,
 * which knows of those that were waited for. */
struct sbx_usage {
        uint64_t begun_ns;    /* CLOCK_MONOTONIC */
        uint64_t wall_ns;     /* from then on */
        uint64_t user_us, system_us;
        uint64_t memory_peak; /* bytes; unmeasured: of the largest process */
        uint64_t read_bytes, write_bytes;
        uint64_t oom_kills;   /* processes, for whichever limit */
        uint64_t memory_limit_hits, pids_limit_hits, pids_peak;
        uint64_t throttled_periods, throttled_us;
        uint32_t measured;    /* enum sbx_measured */
        uint32_t reserved;
};

enum sbx_cause {
        SBX_EXITED = 1,
        SBX_SIGNALED = 2,
        SBX_OUT_OF_MEMORY = 3, /* a process was killed for memory, and the program ended with an error */
        SBX_PIDS_LIMIT = 4,    /* no more processes could be started, and the program ended with an error */
        SBX_FILTERED = 5,      /* SIGSYS, as the system call filter sends it */
        SBX_TIMEOUT = 6,       /* these three: the supervisor ended it */
        SBX_WATCHDOG = 7,
        SBX_STOPPED = 8,
        SBX_FAILED = 9,        /* `failure` says why */
        SBX_UNHEALTHY = 10,    /* as SBX_WATCHDOG: its checks failed, and the profile says that it is to end then */
};

/* Its pid can't become another process's before it is reaped. */
struct sbx_child {
        pid_t pid;
        int pidfd;     /* of one that was adopted, and is no child; else 0 */
        pid_t payload; /* of a service, once it has told; else 0 */
        pid_t told_by; /* the last report, of a service */
        int status_fd;   /* the sandbox's reports */
        int terminal_fd; /* master side, or -1 */
        uint32_t has_init;
        uint32_t started; /* the program, as the init has told */
        uint32_t unborn;  /* without an init: it was killed before it had become the program */
        void *memory;     /* that the launch was prepared in */
        size_t memory_size;
        struct sbx_cpus cpus; /* the caller's, which waits on the processor of the launch */
        struct sbx_cgroups cgroups;
        struct sbx_usage usage;
        struct service *service; /* NULL: it runs none */
        uint32_t ended_for; /* enum sbx_cause, where the supervisor ends it by itself; else 0 */
};

struct sbx_exit {
        int32_t status; /* the payload's, as wait4(2) gives it */
        struct sbx_failure failure;
        uint32_t cause; /* enum sbx_cause */
        int32_t left;   /* -errno, where a cgroup of it couldn't be removed */
        struct sbx_usage usage;
};

/* Starts the sandbox; returns once it is cloned and mapped, the caller still on one processor: sbx_await_exec,
 * sbx_supervise and sbx_release give it its own affinity back.  All signals that the supervisor forwards must be
 * blocked by the caller (sbx_block_signals).  0, or -errno with *ret_failure filled in and nothing left behind. */
int sbx_start(const struct sbx_launch *launch, struct sbx_child *ret_child, struct sbx_failure *ret_failure);

/* Waits until the payload's program has been started or has failed to: 0, or -errno with *ret_failure filled in
 * (the sandbox is then reaped). Takes the terminal's descriptor. */
int sbx_await_exec(const struct sbx_launch *launch, struct sbx_child *child, struct sbx_failure *ret_failure);

/* Tells a service manager that waits for it that the program of a plan without [service] runs. */
void sbx_announce(const struct sbx_launch *launch, const struct sbx_child *child);

/* Forwards signals until the sandbox has ended and is reaped. One that lives longer than a moment, or has a name, is
 * recorded meanwhile. */
int sbx_supervise(const struct sbx_launch *launch, struct sbx_child *child, struct sbx_exit *ret_exit);

/* What is to know of a sandbox that somebody else has reaped; status as of wait4(2). */
void sbx_collect(struct sbx_child *child, int status, struct sbx_exit *ret_exit);

/* Reaps an ended sandbox without forwarding: -EAGAIN while it lives. */
int sbx_reap(const struct sbx_launch *launch, struct sbx_child *child, struct sbx_exit *ret_exit);

/* For who has a loop of its own in place of sbx_supervise: records the sandbox and serves what others ask of it.
 * sbx_attend_fd is readable when sbx_attend_turn has something to do; sbx_attend_end comes after the reaping. NULL,
 * with *ret_error, where it can't be recorded. */
struct supervision;
struct supervision *sbx_attend(const struct sbx_launch *launch, struct sbx_child *child, int *ret_error);
int sbx_attend_fd(const struct supervision *s);
int sbx_attend_turn(struct supervision *s);
/* What somebody has sent to the supervisor: a request to the service, else the payload's. */
void sbx_attend_signal(struct supervision *s, int number);
void sbx_attend_end(struct supervision *s, const struct sbx_exit *end);

/* Blocks what is forwarded and SIGCHLD; *ret_old is the mask before. */
int sbx_block_signals(uint64_t *ret_old);
int sbx_restore_signals(uint64_t old);

void sbx_release(struct sbx_child *child);
