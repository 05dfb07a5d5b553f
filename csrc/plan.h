/* The plan in its binary form: all that passes between policy (Python) and mechanism (C).
 *
 *   header | op records | stamp records | data (strings and blobs)
 *
 * Integers are little endian as the machine's own.  A record's payload is a row of 8-byte slots whose
 * meaning its layout string tells, one letter a slot:
 *   u  unsigned integer        s  string (ref, NUL behind it)
 *   b  blob (ref)              l  list of strings (ref to an array of len refs)
 * plan_open() checks all of it once; whoever holds a struct plan may follow every ref unchecked.
 */
#pragma once
#include <stddef.h>
#include <stdint.h>

#define PLAN_MAGIC "SBXPLAN"
#define PLAN_VERSION 4u
#define PLAN_MAX_SIZE (4u << 20)
#define PLAN_MAX_OPS 8192u
#define PLAN_MAX_STAMPS 1024u
/* Bytes of all strings and blobs, those that have several references once for each, and with so many more for a string:
 * checking a plan and reading it take so long and no longer. */
#define PLAN_MAX_READ (64u << 20)
#define PLAN_STRING_COST 16u

struct plan_ref {
        uint32_t offset; /* from the start of the data */
        uint32_t len;    /* bytes, or entries of a list */
};

struct plan_header {
        char magic[8];
        uint32_t version;
        uint32_t reserved; /* 0 */
        uint64_t checksum; /* plan_checksum() of everything behind this field */
        uint32_t size;
        uint32_t op_count;
        uint32_t ops_offset;
        uint32_t ops_size;
        uint32_t stamp_count;
        uint32_t stamps_offset;
        uint32_t stamps_size;
        uint32_t data_offset;
        uint32_t data_size;
        uint32_t flags; /* PLAN_FLAG_* */
};

/* The supervisor opens the sources of mounts, since it is privileged where the sandbox's first process is not. */
#define PLAN_FLAG_SOURCES_OUTSIDE 1u
/* The plan was made for one working directory; the cache keeps it under that name. */
#define PLAN_FLAG_FOR_CWD 2u
/* The payload may want a terminal of its own: the launcher leaves such a plan to Python when stdin is one. */
#define PLAN_FLAG_TERMINAL_AUTO 4u
#define PLAN_FLAG_TERMINAL_ALWAYS 8u

struct plan_record {
        uint16_t kind;
        uint16_t flags;
        uint32_t size;   /* with this head, a multiple of 8 */
        struct plan_ref origin; /* the profile's line, for people: "file:line key" */
};

/* OP(number, Name, layout): kinds are never renumbered; the version changes when a layout does. */
#define PLAN_OPS(OP)                                                                                                   \
        OP(1, CreateNamespaces, "u")                                                                                   \
        OP(2, MapIds, "ussu")                                                                                          \
        OP(3, SetIds, "uu")                                                                                            \
        OP(4, SetGroups, "u")                                                                                          \
        OP(5, SetDeathSignal, "u")                                                                                     \
        OP(6, MountRoot, "uu")                                                                                         \
        OP(7, MountRootTree, "su")                                                                                     \
        OP(8, MakeDirectory, "su")                                                                                     \
        OP(9, MakeSymlink, "ss")                                                                                       \
        OP(10, WriteFile, "sub")                                                                                       \
        OP(11, BindMount, "ssuuuuu")                                                                                   \
        OP(12, BindDevice, "ssuu")                                                                                     \
        OP(13, MountTmpfs, "suuuuuu")                                                                                  \
        OP(14, MountOverlay, "slssuu")                                                                                 \
        OP(15, CreateProc, "u")                                                                                        \
        OP(16, SetSysctl, "ss")                                                                                        \
        OP(17, AttachProc, "su")                                                                                       \
        OP(18, MountDevpts, "s")                                                                                       \
        OP(19, MaskPath, "su")                                                                                         \
        OP(20, SetMountAttributes, "su")                                                                               \
        OP(21, EnterRoot, "")                                                                                          \
        OP(22, SetHostname, "s")                                                                                       \
        OP(23, BringUpLoopback, "")                                                                                    \
        OP(24, SetRlimit, "uuu")                                                                                       \
        OP(25, SetUmask, "u")                                                                                          \
        OP(26, ChangeDirectory, "s")                                                                                   \
        OP(27, SetEnvironment, "ll")                                                                                   \
        OP(28, NullStdin, "")                                                                                          \
        OP(29, OpenTerminal, "")                                                                                       \
        OP(30, NewSession, "")                                                                                         \
        OP(31, SetCapabilities, "uuu")                                                                                 \
        OP(32, SetSecurebits, "u")                                                                                     \
        OP(33, SetNoNewPrivileges, "")                                                                                 \
        OP(34, ProtectProcess, "")                                                                                     \
        OP(35, CreateLandlockRuleset, "uuu")                                                                           \
        OP(36, AllowPath, "suu")                                                                                       \
        OP(37, AllowPort, "uu")                                                                                        \
        OP(38, StartInit, "")                                                                                          \
        OP(39, RestrictSelf, "u")                                                                                      \
        OP(40, CheckDescriptors, "")                                                                                   \
        OP(41, SealDescriptors, "")                                                                                    \
        OP(42, KeepDescriptor, "u")                                                                                    \
        OP(43, InstallFilter, "bu")                                                                                    \
        OP(44, Execute, "l")                                                                                           \
        OP(45, SkipFeature, "su") /* for people: what is not enforced, and whether to say so */                           \
        OP(46, LimitCapabilities, "u")                                                                                 \
        OP(47, RestrictRoot, "u")                                                                                      \
        OP(48, NewKeyring, "")                                                                                         \
        OP(49, MountDev, "suuu")                                                                                       \
        OP(50, MakeDevice, "suu")                                                                                      \
        OP(51, CreateCgroup, "u")                                                                                      \
        OP(52, SetCgroup, "ssss")                                                                                      \
        OP(56, Identify, "ss") /* for the record: a stem of the sandbox's name, the profile's path */                  \
        OP(57, ProvideDirectory, "s")                                                                                  \
        OP(60, RunService, "uuuuuuu")                                                                                  \
        OP(61, OpenNotify, "su")                                                                                       \
        OP(62, AnnouncePayload, "")                                                                                    \
        OP(63, PassSockets, "l")                                                                                       \
        OP(64, KeepLog, "uuu")                                                                                         \
        OP(65, MountSecrets, "suu")                                                                                    \
        OP(66, PlaceSecret, "susu")                                                                                    \
        OP(70, CheckHealth, "uluuuuu")                                                                                 \
        OP(71, Survive, "")                                                                                            \
        OP(72, RaiseRlimit, "uu")

enum plan_kind {
#define OP(number, name, layout) PLAN_##name = number,
        PLAN_OPS(OP)
#undef OP
                PLAN_KIND_COUNT = 73
};

/* MapIds: who writes the maps. What stands before it in a plan runs meanwhile, with ids that aren't mapped yet. */
enum { MAP_BY_SELF = 0, MAP_BY_SUPERVISOR = 1, MAP_BY_HELPER = 2 };
/* BindMount.flags */
enum {
        BIND_RECURSIVE = 1,
        BIND_OPTIONAL = 2,     /* nothing is done where the source is missing */
        BIND_IDMAP_OWNER = 4,  /* the source's owner appears as the payload's own ids */
        BIND_FROM_ROOTFS = 8,  /* the source lies in the tree of MountRootTree */
        BIND_FROM_ROOT = 16,   /* the source lies in the new root as assembled so far */
        BIND_NO_CREATE = 32,   /* the mount point must be there */
};
/* CreateProc.options */
enum { PROC_PIDS_ONLY = 1 };
/* MaskPath.how */
/* MASK_PASSAGE: denied, but something more specific is mounted below; SetMountAttributes seals it */
/* MASK_READ_ONLY and MASK_PIN: covered by itself, so that it can be neither renamed nor removed */
enum { MASK_EMPTY = 0, MASK_DENY = 1, MASK_PASSAGE = 2, MASK_READ_ONLY = 3, MASK_PIN = 4 };
/* AllowPath.flags */
enum { ALLOW_OPTIONAL = 1 };

/* warn: nothing else keeps what the feature would */
struct op_skip_feature { struct plan_ref feature; uint64_t warn; };
struct op_create_namespaces { uint64_t flags; };
/* setgroups: 1 leaves it allowed */
struct op_map_ids { uint64_t by; struct plan_ref uid_map, gid_map; uint64_t setgroups; };
struct op_set_ids { uint64_t uid, gid; };
#define UMASK_OF_CALLER UINT32_MAX /* for SetUmask */
struct op_number { uint64_t value; };
struct op_path { struct plan_ref path; };
struct op_mount_root { uint64_t size, inodes; };
struct op_path_number { struct plan_ref path; uint64_t value; };
struct op_make_symlink { struct plan_ref path, target; };
struct op_write_file { struct plan_ref path; uint64_t mode; struct plan_ref content; };
/* uid, gid: what the source's owner becomes (ids of the supervisor's user namespace), for BIND_IDMAP_OWNER */
struct op_bind_mount {
        struct plan_ref source, target;
        uint64_t attributes, flags, uid, gid;
        uint64_t trusted; /* so many bytes of the source, up to a slash, may be links; 0: all of it */
};
struct op_bind_device { struct plan_ref source, target; uint64_t major, minor; };
/* uid, gid: of its top directory, as numbered outside */
struct op_mount_dev { struct plan_ref target; uint64_t size, uid, gid; };
struct op_make_device { struct plan_ref path; uint64_t major, minor; };
/* uid, gid: of its top directory, as numbered inside */
struct op_mount_tmpfs { struct plan_ref target; uint64_t size, inodes, mode, attributes, uid, gid; };
/* upper empty: on a tmpfs of size bytes */
struct op_mount_overlay { struct plan_ref target, lower, upper, work; uint64_t size, attributes; };
struct op_set_sysctl { struct plan_ref path, value; };
struct op_set_rlimit { uint64_t resource, soft, hard; };
struct op_raise_rlimit { uint64_t resource, hard; };
/* set: NAME=value; pass: NAME, or a prefix and a star */
struct op_set_environment { struct plan_ref set, pass; };
struct op_set_capabilities { uint64_t permitted, inheritable, ambient; };
struct op_landlock_ruleset { uint64_t fs, net, scoped; };
struct op_allow_path { struct plan_ref path; uint64_t access, flags; };
struct op_allow_port { uint64_t port, access; };
struct op_install_filter { struct plan_ref program; uint64_t flags; };
struct op_execute { struct plan_ref argv; };
struct op_identify { struct plan_ref stem, profile; };
/* Times in microseconds, UINT64_MAX: without bound; 0 for no watchdog and no reload_signal. */
enum { SERVICE_EXEC = 0, SERVICE_NOTIFY = 1 };
struct op_run_service { uint64_t type, start_timeout_us, watchdog_us, stop_signal, stop_timeout_us, reload_signal, runtime_max_us; };
/* names: of the sockets that are handed over, each of them at least once */
struct op_pass_sockets { struct plan_ref names; };
/* size: of one file in bytes; files: how many, the newest included */
enum { LOG_FILE = 1, LOG_JOURNAL = 2 };
struct op_keep_log { uint64_t where, size, files; };
/* uid, gid: of all that is there, as numbered inside.  Every PlaceSecret stands behind it. */
struct op_mount_secrets { struct plan_ref target; uint64_t uid, gid; };
/* source: the name of the credential or variable, or the file's path */
enum { SECRET_CREDENTIAL = 1, SECRET_FILE = 2, SECRET_ENV = 3 };
/* trusted: as of op_bind_mount, for a file */
struct op_place_secret { struct plan_ref name; uint64_t from; struct plan_ref source; uint64_t trusted; };
/* from_all: not the main process alone may speak */
struct op_open_notify { struct plan_ref path; uint64_t from_all; };

/* words: the command, or what probe.h takes.  Times in microseconds. */
enum { HEALTH_COMMAND = 0, HEALTH_PROBE = 1 };
enum { HEALTH_NOTHING = 0, HEALTH_STOP = 1 };
struct op_check_health { uint64_t kind; struct plan_ref words; uint64_t interval_us, timeout_us, retries, start_period_us, action; };

/* version 2: one cgroup in the one hierarchy that each SetCgroup names.  1: one in every hierarchy that a SetCgroup
 * names.  Where it lies is decided at launch; it stands before all SetCgroup, and these in the order of writing. */
struct op_create_cgroup { uint64_t version; };
/* hierarchy: its mount point, such as /sys/fs/cgroup (v2) or /sys/fs/cgroup/memory (v1).
 * file empty: the controller is only to measure with; where version 2 can't have it, it's left out without an error.
 * value starts with a slash: the path of a disk, whose number is written in its place.
 * value empty: what the same file has in the cgroup above (cpuset.cpus and cpuset.mems of version 1, which start empty
 * and must be filled before a process is let in).
 * cpuset.cpus and cpuset.mems of version 2 take numbers that can't be had, and then do nothing: the value must be
 * within what is effective above. */
struct op_set_cgroup { struct plan_ref hierarchy, controller, file, value; };

/* STAMP(number, Name, layout): what a plan was made from; one that differs makes the plan stale. */
#define PLAN_STAMPS(STAMP)                                                                                             \
        STAMP(1, File, "suuuuuuu") /* path, follow, exists, dev, inode, size, mtime ns, ctime ns */                    \
        STAMP(2, Variable, "sus")  /* name, set, value */                                                              \
        STAMP(3, Host, "ssuuu")    /* kernel release, sbx version, uid, gid, effective capabilities */                      \
        STAMP(4, Cwd, "s")                                                                                             \
        STAMP(5, Name, "s")        /* the profile as the command line names it: the cache's key */                      \
        STAMP(6, Set, "ss")        /* a variable of the command line's: name, value */

#define STAMP_ANY_STATE 2 /* of `exists`: which file it is counts, and nothing else of it */
struct stamp_file { struct plan_ref path; uint64_t follow, exists, device, inode, size, mtime, ctime; };
struct stamp_variable { struct plan_ref name; uint64_t set; struct plan_ref value; };
struct stamp_host { struct plan_ref release, version; uint64_t uid, gid, capabilities; };
struct stamp_cwd { struct plan_ref path; };
struct stamp_name { struct plan_ref key; };

struct plan {
        const uint8_t *base;
        const struct plan_header *header;
        const uint8_t *data;
};

/* Checks size bytes at base (8-byte aligned) in full. 0, or -EBADMSG (not a sound plan),
 * -EPROTO (another version). ret_plan is untouched on failure. */
int plan_open(const void *base, size_t size, struct plan *ret_plan);

uint64_t plan_checksum(const void *bytes, size_t size);
const char *plan_op_layout(unsigned kind);    /* NULL: no such kind */
const char *plan_op_name(unsigned kind);
const char *plan_stamp_layout(unsigned kind);

static inline const struct plan_record *plan_first_op(const struct plan *p) {
        return (const struct plan_record *) (p->base + p->header->ops_offset);
}
static inline const struct plan_record *plan_first_stamp(const struct plan *p) {
        return (const struct plan_record *) (p->base + p->header->stamps_offset);
}
static inline const struct plan_record *plan_next(const struct plan_record *r) {
        return (const struct plan_record *) ((const uint8_t *) r + r->size);
}
static inline const void *plan_payload(const struct plan_record *r) {
        return r + 1;
}
static inline const char *plan_string(const struct plan *p, struct plan_ref ref) {
        return (const char *) (p->data + ref.offset);
}
static inline const struct plan_ref *plan_list(const struct plan *p, struct plan_ref ref) {
        return (const struct plan_ref *) (p->data + ref.offset);
}
