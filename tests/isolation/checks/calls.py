"""System calls: what a filter refuses, and what would get around it."""

import platform

from sandbox.plan.syscalls import numbers
from tests.isolation.check import (
    OUTSIDE,
    OUTSIDE_AS_ROOT,
    Attempt,
    Bare,
    Check,
    Control,
    attempt,
)

UNFILTERED = Control(how="[seccomp]\nenabled = false")
_X86_64 = platform.machine() == "x86_64"
_PERSONALITY = numbers(platform.machine())["personality"]
_BEYOND = max(numbers(platform.machine()).values()) + 1
"""The number that the next call of the kernel's will have: the filter's tables don't know it."""

_NO_X32 = Control(
    how=UNFILTERED.how,
    lacking=(
        "ENOSYS",
        "this kernel was built without the x32 ABI; the filter is tried by simulation",
    ),
    never="Debian's kernel turns x32 on only where it was booted with syscall.x32=y",
)
_UNKNOWN = Control(
    how='[seccomp]\nunknown_errno = "EXDEV"',
    # No kernel has such a call; that the answer changes shows whose it was.
    shows="EXDEV",
)


def _absent(option: str) -> Control:
    """A call that kernels without an option don't have."""
    reason = f"this kernel was built without {option}"
    return Control(how=Bare.OUTSIDE, callers=("root",), lacking=("ENOSYS", reason))


def _foreign() -> tuple[Attempt, ...]:
    if not _X86_64:
        return ()
    return (
        attempt("int80", "SIGSYS", UNFILTERED),
        attempt("x32", "SIGSYS", _NO_X32),
    )


def _calls(control: Control, *names: str) -> tuple[Attempt, ...]:
    return tuple(attempt(f"named-call {name}", "EPERM", control) for name in names)


def _machine() -> tuple[Attempt, ...]:
    """Calls that change the whole machine, or place memory."""
    found = (
        *_calls(_absent("CONFIG_KEXEC"), "kexec_load"),
        *_calls(_absent("CONFIG_KEXEC_FILE"), "kexec_file_load"),
        *_calls(_absent("CONFIG_MODULES"), "init_module", "finit_module", "delete_module"),
        *_calls(OUTSIDE_AS_ROOT, "reboot", "swapon", "swapoff", "acct", "syslog", "vhangup"),
        *_calls(UNFILTERED, "quotactl", "mbind", "set_mempolicy", "move_pages"),
    )
    if not _X86_64:
        return found
    absent = _absent("CONFIG_X86_IOPL_IOPERM")
    return (*found, *_calls(absent, "iopl", "ioperm"), *_calls(UNFILTERED, "modify_ldt"))


CHECKS = (
    Check(
        number=33,
        title="Entries of other architectures",
        weakness="a number means another call there, so a filter that doesn't look is passed",
        attempts=_foreign(),
        tests=(
            "tests/kernel/test_filter.py::test_calls_by_the_32_bit_entry_end_the_process",
            "tests/kernel/test_filter.py::test_x32_numbers_end_the_process",
        ),
    ),
    Check(
        number=34,
        title="Numbers that no table has",
        weakness="a call that is newer than the filter",
        attempts=tuple(
            attempt(f"call {number}", "ENOSYS", _UNKNOWN)
            for number in (_BEYOND, 1000, 0xFFFFFFFFFFFFFFFF)
        ),
        tests=(
            "tests/kernel/test_filter.py::test_known_calls_have_the_policys_error_and_unknown_numbers_do_not_exist",
        ),
    ),
    Check(
        number=35,
        title="Input for the caller's terminal",
        weakness="bytes that a shell outside takes for typed ones; high bits of the request; TIOCLINUX",
        cves=(
            "CVE-2017-5226",
            "CVE-2019-10063",
            "CVE-2023-28100",
        ),
        attempts=(
            *(attempt(f"tiocsti {high}", "EPERM", UNFILTERED) for high in (0, 1, 0x80000000)),
            *(attempt(f"tioclinux {high}", "EPERM", UNFILTERED) for high in (0, 1, 0x80000000)),
            # TIOCSTI, TIOCLINUX and TIOCSETD, before anybody has looked at the descriptor
            attempt("ioctl-of-none 0x5412", "EPERM", UNFILTERED),
            attempt("ioctl-of-none 0x100005412", "EPERM", UNFILTERED),
            attempt("ioctl-of-none 0x541c", "EPERM", UNFILTERED),
            attempt("ioctl-of-none 0x5423", "EPERM", UNFILTERED),
        ),
        tests=(
            "tests/kernel/test_filter.py::test_nothing_can_be_pushed_into_a_terminal_whatever_the_high_half",
            "tests/kernel/test_process.py::test_the_callers_terminal_is_not_the_payloads",
        ),
    ),
    Check(
        number=36,
        title="clone3",
        weakness="flags in memory, where no filter sees them",
        cves=("CVE-2021-41133",),
        attempts=(
            attempt("clone3 0", "ENOSYS", UNFILTERED),
            attempt("clone3 0x10000000", "ENOSYS", UNFILTERED),
        ),
        tests=(
            "tests/kernel/test_filter.py::test_threads_and_processes_start_under_the_filter",
            "tests/kernel/test_filter.py::test_clone3_does_not_exist_unless_namespaces_are_allowed",
        ),
    ),
    Check(
        number=37,
        title="io_uring",
        weakness="operations that no filter sees, in much code that is young",
        cves=(
            "CVE-2023-2598",
            "CVE-2024-0582",
        ),
        attempts=tuple(
            attempt(words, "EPERM", Control(how='[seccomp]\nallow = ["@io-uring"]'))
            for words in (
                "io-uring",
                "named-call io_uring_enter",
                "named-call io_uring_register",
            )
        ),
    ),
    Check(
        number=38,
        title="Looking into processes, and much of the kernel behind one call",
        weakness="ptrace, bpf, perf_event_open, userfaultfd, handles; keyctl, by which a Landlock domain was lost",
        cves=("CVE-2024-42318",),
        attempts=(
            *(
                attempt(words, "EPERM", UNFILTERED)
                for words in (
                    "ptrace-me",
                    "ptrace-child",
                    "read-child",
                    "write-child",
                    "take-descriptor",
                    "compare-descriptors",
                    "advise-process",
                    "count-events",
                    "session-to-parent",
                )
            ),
            *_calls(UNFILTERED, "userfaultfd", "fanotify_init", "add_key", "request_key"),
            attempt("bpf-map", "EPERM", OUTSIDE_AS_ROOT),
            # name_to_handle_at(2) alone tells a number; it is opening one that passes directories.
            attempt("open-handle {data}", "EPERM", OUTSIDE_AS_ROOT),
            attempt(f"call {_PERSONALITY} 8", "EPERM", UNFILTERED),
            attempt(f"call {_PERSONALITY} 0x40000", "EPERM", UNFILTERED),
            attempt(f"call {_PERSONALITY} 0x100000008", "EPERM", UNFILTERED),
        ),
        tests=("tests/kernel/test_filter.py::test_the_execution_domain_stays",),
    ),
    Check(
        number=39,
        title="Calls that change the machine",
        weakness="kexec, modules, reboot, swap, accounting, the kernel's log, quotas, NUMA",
        attempts=_machine(),
    ),
    Check(
        number=40,
        title="Tasks without a filter",
        weakness="a program that joins a sandbox and has none of its filter",
        cves=("CVE-2016-9962", "CVE-2019-12589"),
        attempts=(attempt("unfiltered-task", "ESRCH", UNFILTERED),),
        tests=(
            "tests/kernel/test_privileges.py::test_every_thread_has_no_new_privs_and_the_filter",
            "tests/kernel/test_exec.py::test_every_layer_is_the_payloads",
        ),
    ),
    Check(
        number=41,
        title="Loosening the filter",
        weakness="a filter of the payload's own, or one that asks a supervisor of the payload's own",
        attempts=(
            attempt("loosen", "EPERM", UNFILTERED),
            attempt("own-supervisor", "EPERM", UNFILTERED),
            attempt("clear-no-new-privs", "EINVAL", OUTSIDE),
        ),
        tests=(
            "tests/kernel/test_filter.py::test_the_filter_cannot_be_taken_off_and_another_only_narrows_it",
            "tests/kernel/test_explain_hostile.py::test_a_payload_can_not_answer_for_the_filter_that_refuses_a_call",
        ),
    ),
    Check(
        number=42,
        title="A path that changes after it was looked at",
        weakness="a supervisor that reads a call's memory and says: go on (seccomp_unotify(2), BUGS)",
        attempts=(
            attempt(
                "flip-path {data}/file {secret}",
                "ENOENT",
                Control(how='[filesystem]\nread = ["{secret}"]'),
            ),
        ),
        tests=(
            "tests/kernel/test_filter_answers.py::test_no_filter_leaves_the_answer_to_somebody_else",
        ),
    ),
)
