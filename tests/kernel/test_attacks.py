"""What an attacker of the set-up tries: hostile plans, odd callers, names that lead elsewhere."""

import errno
import os
import pty
import signal
import subprocess
from typing import Any

import msgspec
import pytest

from sandbox.plan import codec, ops
from sandbox.plan.kernel import NAMESPACES
from sandbox.plan.record import Op
from tests.kernel.harness import Sandbox, edited, without

CLONE_VM, CLONE_VFORK, CLONE_FILES, CLONE_PARENT = 0x100, 0x4000, 0x400, 0x8000
MOUNT_NAMESPACE = NAMESPACES["mnt"][0]
RET_ALLOW = bytes.fromhex("060000000000ff7f")
RET_KILL = bytes.fromhex("0600000000000080")

# ---- Plans that no compiler of ours writes ----


@pytest.mark.parametrize(
    "extra", (CLONE_VM, CLONE_VM | CLONE_VFORK, CLONE_FILES, CLONE_PARENT, 1 << 33)
)
def test_a_plan_cannot_share_the_supervisor_with_the_sandbox(as_user: Sandbox, extra: int) -> None:
    """Flags of clone3 other than namespaces are refused before the clone."""

    def edit(op: Op) -> Op:
        if isinstance(op, ops.CreateNamespaces):
            return msgspec.structs.replace(op, flags=op.flags | extra)
        return op

    plan = as_user.plan("")
    assert as_user.run_plan(plan, as_user.probe, "exit", "0").returncode == 0
    done = as_user.run_plan(edited(plan, edit), as_user.probe, "exit", "0")
    assert (done.returncode, done.stdout) == (125, "")
    assert os.strerror(errno.EINVAL) in done.stderr


def test_a_plan_without_a_mount_namespace_is_refused(as_root: Sandbox) -> None:
    """Its mounts would be the host's."""

    def edit(op: Op) -> Op:
        if isinstance(op, ops.CreateNamespaces):
            return msgspec.structs.replace(op, flags=op.flags & ~MOUNT_NAMESPACE)
        return op

    plan = as_root.plan('[filesystem]\nread = ["/"]')
    for changed in (edited(plan, edit), without(plan, ops.CreateNamespaces)):
        done = as_root.run_plan(changed, as_root.probe, "exit", "0")
        assert (done.returncode, done.stdout) == (125, "")


def test_a_filter_is_never_cut_short(as_user: Sandbox) -> None:
    """The kernel takes its length as 16 bits: 65537 instructions would be one."""

    plan = as_user.plan("")
    for count, status in ((1, 0), (4096, 0), (4097, 125), (65537, 125)):
        longer = ops.InstallFilter(program=RET_ALLOW * count, flags=0)
        changed = edited(plan, lambda op: longer if isinstance(op, ops.InstallFilter) else op)  # noqa: B023
        assert as_user.run_plan(changed, as_user.probe, "exit", "0").returncode == status, count


def test_a_relative_path_in_a_plan_is_an_error(as_user: Sandbox) -> None:
    """Not a crash that would pass for the payload's."""

    def edit(op: Op) -> Op:
        if isinstance(op, ops.MountTmpfs):
            return msgspec.structs.replace(op, target="not/absolute")
        return op

    plan = as_user.plan('[filesystem]\ntmpfs = ["/absolute"]')
    done = as_user.run_plan(edited(plan, edit), as_user.probe, "exit", "0")
    assert done.returncode == 125, done


# ---- Odd callers ----


def test_a_long_working_directory_and_a_long_name_fit(as_user: Sandbox) -> None:
    """Both stand in the key of a plan, the directory twice."""
    parts = ["d" * 200] * ((4000 - len(as_user.directory)) // 201)

    def descend() -> None:
        for part in parts:
            os.mkdir(part)
            os.chdir(part)

    name = "./" * 1500 + "missing.toml"
    arguments = [as_user.launcher, "run", "--profile", name, "--", as_user.probe, "exit", "0"]
    done = as_user.program(arguments, before=descend)
    assert done.returncode == 125, done.returncode
    assert done.stderr.startswith("sbx: error:")


@pytest.mark.parametrize("terminal", ("never", "auto"))
def test_a_caller_that_ignores_sigchld_gets_the_payloads_status(
    sandbox: Sandbox, terminal: str
) -> None:
    """Cold and warm, with a supervisor in C and one in Python."""
    text = f'[process]\nterminal = "{terminal}"'

    def ignore() -> None:
        signal.signal(signal.SIGCHLD, signal.SIG_IGN)

    for _ in range(2):
        master, slave = pty.openpty()
        streams: dict[str, Any] = dict.fromkeys(("stdin", "stdout", "stderr"), slave)
        try:
            with sandbox.start(text, sandbox.probe, "exit", "7", before=ignore, **streams) as run:
                assert run.wait(30) == 7
        finally:
            os.close(slave)
            os.close(master)


# ---- Death on the way ----


@pytest.mark.parametrize("before", ("EnterRoot", "StartInit", "ChangeDirectory"))
def test_a_sandbox_that_is_killed_before_its_program_starts_is_sbxs_failure(
    sandbox: Sandbox, before: str
) -> None:
    """128 and a number would say that the payload had run."""
    plan = sandbox.plan("")
    place = next(i for i, op in enumerate(plan.ops) if type(op).__name__ == before)
    killing = (ops.SetNoNewPrivileges(), ops.InstallFilter(program=RET_KILL, flags=0))
    changed = msgspec.structs.replace(
        plan,
        ops=(*plan.ops[:place], *killing, *plan.ops[place:]),
        origins=(*plan.origins[:place], (), (), *plan.origins[place:]),
    )
    done = sandbox.run_plan(changed, sandbox.probe, "exit", "0")
    assert (done.returncode, done.stdout) == (125, ""), done
    assert "killed before it could say that the program runs" in done.stderr


# ---- Names that lead elsewhere ----


@pytest.mark.parametrize("root", ("", 'read = ["/"]'), ids=["assembled", "in place"])
@pytest.mark.parametrize("how", ("deny", "mask"))
def test_a_denied_path_stays_so_when_a_link_leads_it_into_a_longer_one(
    sandbox: Sandbox, root: str, how: str
) -> None:
    """The cover isn't buried by what is mounted where the link leads."""
    deep = sandbox.mkdir("some/where/deep/below")
    secret = sandbox.write("some/where/deep/below/secret", "secret")
    os.symlink(os.path.dirname(deep), sandbox.path("link"))
    above = root or f'read = ["{sandbox.directory}"]'
    statements = f'[filesystem]\n{above}\nwrite = ["{deep}"]\n'
    denied = f'{how} = ["{sandbox.path("link/below/secret")}"]'
    for path in (secret, sandbox.path("link/below/secret")):
        assert sandbox.attempt(statements, "read", path).value == "secret"
        assert sandbox.attempt(statements + denied, "read", path).value == ""


def test_a_cover_with_a_passage_is_never_buried(sandbox: Sandbox) -> None:
    """It can't come last; by whatever name its place is to be written to, what covers it wins."""
    deep = sandbox.mkdir("some/where/deep/below")
    secret = sandbox.write("some/where/deep/below/secret", "secret")
    shown = sandbox.write("some/where/deep/below/shown", "shown")
    os.symlink(os.path.dirname(deep), sandbox.path("link"))
    link = sandbox.path("link/below")
    text = f'[filesystem]\nread = ["/", "{link}/shown"]\ndeny = ["{link}"]\n'
    for more in ("", f'write = ["{deep}"]\n', f'write = ["{link}"]\n'):
        found = sandbox.attempts(
            text + more, ("read", shown), ("read", secret), ("write", shown, "x")
        )
        assert [answer.outcome for answer in found][:2] == ["ok", "ENOENT"]
        assert found[2].outcome in ("EACCES", "EROFS")
    mount = f'[[mounts]]\ntype = "bind"\nsource = "{deep}"\ntarget = "{deep}"\n'
    assert os.strerror(errno.EBUSY) in sandbox.refusal(text + mount)


# ---- A payload that is user 0 outside as well ----


@pytest.mark.parametrize("kind", ("self", "root"))
def test_the_hosts_root_in_a_map_of_one_id_reads_nothing_of_the_kernels(
    as_root: Sandbox, kind: str
) -> None:
    """The modes of these files let user 0 in, and being user 0 needs no capability."""
    names = ("pagetypeinfo", "slabinfo", "timer_list", "vmallocinfo")
    paths = [f"/proc/{name}" for name in names if os.path.exists(f"/proc/{name}")]
    assert paths
    tries = [("read", path) for path in paths]
    text = f'[identity]\nmap = "{kind}"\n'
    assert not any(answer.value for answer in as_root.attempts(text, *tries))
    plan = without(as_root.plan(text), ops.MaskPath)
    assert all(answer.value for answer in as_root.attempts_under(plan, *tries))


def test_none_means_not_the_hosts_proc_and_dev_either(sandbox: Sandbox) -> None:
    """Where the whole root is granted, other processes and devices would come with it."""
    text = '[filesystem]\nread = ["/"]\nproc = "none"\n[devices]\ndev = "none"\n'
    paths = ("/proc", "/dev")
    tries = [("list", path) for path in paths]
    assert [answer.value for answer in sandbox.attempts(text, *tries)] == ["", ""]
    plan = without(sandbox.plan(text), ops.MaskPath)
    assert all(answer.value for answer in sandbox.attempts_under(plan, *tries))
    # What is named is shown.
    named = text.replace('["/"]', '["/", "/proc/cpuinfo"]')
    assert sandbox.attempt(named, "list", "/proc/1").outcome == "ENOENT"
    assert sandbox.attempt(named, "read", "/proc/cpuinfo").value


# ---- The caller's keys ----


@pytest.mark.parametrize(
    "seccomp", ('allow = ["@service", "keyctl"]', "enabled = false"), ids=["allowed", "no filter"]
)
def test_the_callers_session_keyring_stays_outside(sandbox: Sandbox, seccomp: str) -> None:
    """It is inherited like a descriptor, and it belongs to no namespace."""
    reader = sandbox.path("keyring_probe")
    source = os.path.join(os.path.dirname(__file__), "keyring_probe.c")
    compiler = os.environ.get("CC", "cc").split()
    flags = ("-std=gnu17", "-D_GNU_SOURCE", "-static", "-Wall", "-Wextra", "-Werror")
    subprocess.run([*compiler, *flags, "-o", reader, source], check=True)
    text = f'[filesystem]\nexecute = ["{reader}"]\n[seccomp]\n{seccomp}\n'
    launch = [reader, "add", *sandbox.arguments(text, [reader])]
    done = sandbox.program(launch)
    assert (done.stdout, done.returncode) == ("ENOKEY\n", 0), done
    plan = without(sandbox.plan(text), ops.NewKeyring)
    fd = os.memfd_create("plan")
    try:
        os.write(fd, codec.encode(plan))
        run = [sandbox.launcher, "run", "--plan-fd", str(fd), "--", reader]
        assert sandbox.program([reader, "add", *run], pass_fds=(fd,)).stdout == "secret\n"
    finally:
        os.close(fd)
