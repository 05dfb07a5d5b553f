"""What sandboxes of one machine share: processes, memory, devices, clock and name."""

from tests.isolation.check import OUTSIDE, OUTSIDE_AS_ROOT, Bare, Check, Control, attempt
from tests.isolation.checks.calls import UNFILTERED

_SHARED_IPC = Control(how="[namespaces]\nipc = false")
# Landlock refuses a queue as well: it lies on a file system that no rule names.
_SHARED_QUEUES = Control(how=f"{_SHARED_IPC.how}\n[landlock]\nenabled = false")


def _node(name: str) -> Control:
    return Control(
        how=Bare.OUTSIDE,
        callers=("root",),
        lacking=("ENOENT", "this machine has no such device"),
        never="an emulated machine runs no machine of its own" if name == "kvm" else "",
    )


CHECKS = (
    Check(
        number=52,
        title="Two sandboxes of one user",
        weakness="the same id outside: signals, memory and limits of each other's processes",
        attempts=(
            attempt("signal {peer} 0", "ESRCH", OUTSIDE),
            attempt("process-handle {peer}", "ESRCH", OUTSIDE),
            attempt("memory-of {peer}", "ENOENT", OUTSIDE),
            attempt("limits-of {peer}", "ESRCH", OUTSIDE),
            attempt("priority-of {peer}", "ESRCH", OUTSIDE),
        ),
        tests=(
            "tests/isolation/test_bombs.py::test_a_signal_to_everybody_stays_in_the_sandbox",
            "tests/isolation/test_bombs.py::test_a_signal_to_everybody_hits_another_sandbox_only_without_both_layers",
            "tests/kernel/test_namespaces.py::test_landlock_keeps_signals_inside_among_the_hosts_processes",
        ),
    ),
    Check(
        number=53,
        title="Memory, queues and keys by a name",
        weakness="objects that belong to no directory",
        cves=("CVE-2016-0728",),
        attempts=(
            attempt("shared-memory {key}", "ENOENT", _SHARED_IPC),
            attempt("semaphores {key}", "ENOENT", _SHARED_IPC),
            attempt("messages {key}", "ENOENT", _SHARED_IPC),
            attempt("message-queue {queue}", "ENOENT", _SHARED_QUEUES),
            attempt("device {shared}", "ENOENT", OUTSIDE),
            attempt("keyring {key_name}", "EPERM", OUTSIDE),
        ),
        tests=("tests/kernel/test_attacks.py::test_the_callers_session_keyring_stays_outside",),
    ),
    Check(
        number=54,
        title="Devices",
        weakness="the kernel's log and memory, virtual machines, nodes of one's own, the terminal",
        attempts=(
            *(
                attempt(f"device /dev/{name}", "ENOENT", _node(name))
                for name in ("kmsg", "mem", "kvm", "fuse", "net/tun", "vsock", "loop-control")
            ),
            attempt("make-device {work}/node 1 1", "EPERM", OUTSIDE_AS_ROOT),
            attempt("session-outside", "ENODATA", Control(how="[process]\nnew_session = false")),
        ),
        tests=(
            "tests/kernel/test_devices.py::test_dev_holds_these_entries_and_no_others",
            "tests/kernel/test_process.py::test_the_callers_terminal_is_not_the_payloads",
        ),
    ),
    Check(
        number=55,
        title="The machine's clock and name",
        weakness="settings that are the whole machine's",
        attempts=(
            # Nobody sets a clock to show that it can be set: what stands for it keeps the rate.
            attempt(
                "set-clock",
                "EPERM",
                Control(how=Bare.OUTSIDE, callers=("root",), words="tune-clock"),
            ),
            attempt("tune-clock", "EPERM", OUTSIDE_AS_ROOT),
            attempt("named-call clock_settime", "EPERM", UNFILTERED),
            attempt("set-name", "EPERM", OUTSIDE_AS_ROOT),
            attempt("set-domain", "EPERM", OUTSIDE_AS_ROOT),
        ),
        tests=("tests/kernel/test_namespaces.py::test_the_host_name_is_the_sandboxs_own",),
    ),
)
