"""From [resources] to the files of a control group, of the version that the host has.

Which controllers the machine has is decided here; where the sandbox's cgroup lies, and whether the
caller may make it there, at launch. Sources: the kernel's admin-guide/cgroup-v2.rst and
admin-guide/cgroup-v1.
"""

from collections.abc import Iterator
from typing import Final, NamedTuple

from sandbox import units
from sandbox._cgroups import UNIFIED
from sandbox.plan.cgroup_ops import CreateCgroup, SetCgroup
from sandbox.plan.inputs import Inputs
from sandbox.plan.record import Step
from sandbox.profile.model import Feature
from sandbox.profile.resolved import KeyPath

# Its root directory is made anew at boot: controllers and the machine's memory may differ since.
_BOOT_MARK: Final = "/proc"
_UNLIMITED: Final = "max"
_IO: Final = {1: "blkio", 2: "io"}
# What measures where nothing is limited; the freezer of version 2 is part of every cgroup.
_MEASURES: Final = {1: ("memory", "cpuacct", "pids", "freezer"), 2: ("memory", "cpu", "pids", "io")}
_V1_RATES: Final = {
    "rbps": "blkio.throttle.read_bps_device",
    "wbps": "blkio.throttle.write_bps_device",
    "riops": "blkio.throttle.read_iops_device",
    "wiops": "blkio.throttle.write_iops_device",
}
_V2_ONLY: Final = "boot with systemd.unified_cgroup_hierarchy=1 to have version 2"


class _Setting(NamedTuple):
    """One file of a controller's, and the key that it stems from."""

    controller: str
    file: str
    value: str
    key: KeyPath


def steps(inputs: Inputs) -> Iterator[Step]:
    """The cgroup and its limits, in the order of writing; nothing where the profile asks for none.

    Raises UnsupportedError for a limit that this host's controllers can't hold.
    """
    resources = inputs.profile.resources
    if not resources.wanted:
        return
    cgroups = inputs.host.cgroups
    inputs.watch(_BOOT_MARK)
    inputs.watch(*cgroups.mounts.values(), any_state=True)
    if cgroups.version == "none":
        inputs.lacks(
            ("resources",),
            "no cgroup file system is mounted, so nothing holds limits",
            "mount it: mount -t cgroup2 cgroup2 /sys/fs/cgroup",
        )
    version = _version(inputs)
    found = list(_v1(inputs) if version == 1 else _v2(inputs))
    if not found and not resources.cgroup:
        return
    yield Step(CreateCgroup(version=version), ("resources",))
    for setting in found:
        yield _step(inputs, version, setting)
    measured = {setting.controller for setting in found}
    if version == 2 or resources.cgroup:
        for controller in _MEASURES[version]:
            has = cgroups.version_of(controller) == version
            if has and controller not in measured:
                yield _step(inputs, version, _Setting(controller, "", "", ("resources", "cgroup")))


def _step(inputs: Inputs, version: int, setting: _Setting) -> Step:
    mounts = inputs.host.cgroups.mounts
    op = SetCgroup(
        hierarchy=mounts[UNIFIED if version == 2 else setting.controller],
        controller=setting.controller,
        file=setting.file,
        value=setting.value,
    )
    return Step(op, setting.key)


def _version(inputs: Inputs) -> int:
    """Of the controllers that the limits need: one for all of them."""
    cgroups, resources = inputs.host.cgroups, inputs.profile.resources
    needed: dict[str, KeyPath] = {}
    for name in resources.__struct_fields__:
        if name != "cgroup" and getattr(resources, name) not in {None, (), _UNLIMITED}:
            controller = name.partition("_")[0]
            needed.setdefault(controller, ("resources", name))
    versions: dict[int, KeyPath] = {}
    for controller, key in needed.items():
        version = cgroups.version_of(controller)
        if controller == "io":
            version = 2 if version else int(cgroups.version_of(_IO[1]) == 1)
        if version == 0:
            _no_controller(inputs, controller, key)
        versions.setdefault(version, key)
    if len(versions) > 1:
        inputs.lacks(
            versions[2],
            "this host has some of the controllers of these limits in cgroup version 1 and some "
            "in version 2, and one sandbox can't be in both",
            _V2_ONLY,
        )
    if versions:
        return next(iter(versions))
    return 2 if cgroups.version == "v2" else 1


def _no_controller(inputs: Inputs, controller: str, key: KeyPath) -> None:
    hint = "use a kernel that has it; in a container, one that hands the host's cgroups on"
    if controller == "memory":
        hint = "boot with cgroup_enable=memory and without cgroup_disable=memory; " + hint
    inputs.lacks(key, f"this host has no cgroup controller '{controller}'", hint)


def _v2(inputs: Inputs) -> Iterator[_Setting]:
    resources = inputs.profile.resources
    yield from _numbers("cpuset.cpus", resources.cpuset_cpus, inputs)
    yield from _numbers("cpuset.mems", resources.cpuset_mems, inputs)
    for name in ("memory_max", "memory_high", "memory_swap_max"):
        if (value := _memory(inputs, name)) is not None:
            yield _Setting("memory", name.replace("_", ".", 2), value, ("resources", name))
    if resources.cpu_weight is not None:
        key: KeyPath = ("resources", "cpu_weight")
        yield _Setting("cpu", "cpu.weight", str(resources.cpu_weight), key)
    if (quota := units.cpu_quota(resources.cpu_max or _UNLIMITED)) is not None:
        yield _Setting("cpu", "cpu.max", f"{quota[0]} {quota[1]}", ("resources", "cpu_max"))
    yield from _pids(inputs)
    for at, entry in enumerate(resources.io_max):
        words = " ".join(f"{name}={_rate(value)}" for name, value in entry.limits())
        yield _Setting("io", "io.max", f"{entry.device} {words}", ("resources", "io_max", at))
    yield from _io_weight(inputs, "io")


def _v1(inputs: Inputs) -> Iterator[_Setting]:
    resources = inputs.profile.resources
    if resources.cpuset_cpus is not None or resources.cpuset_mems is not None:
        # Both start empty, and what has none lets no process in.
        for name in ("cpuset_cpus", "cpuset_mems"):
            file, value = name.replace("_", "."), getattr(resources, name)
            filled = _Setting("cpuset", file, "", ("resources", name))
            yield next(_numbers(file, value, inputs), filled)
    yield from _v1_memory(inputs)
    if resources.cpu_weight is not None:
        # 100 is to version 2 what 1024 is to version 1.
        shares = max(2, resources.cpu_weight * 1024 // 100)
        yield _Setting("cpu", "cpu.shares", str(shares), ("resources", "cpu_weight"))
    if (quota := units.cpu_quota(resources.cpu_max or _UNLIMITED)) is not None:
        key: KeyPath = ("resources", "cpu_max")
        yield _Setting("cpu", "cpu.cfs_period_us", str(quota[1]), key)
        yield _Setting("cpu", "cpu.cfs_quota_us", str(quota[0]), key)
    yield from _pids(inputs)
    for at, entry in enumerate(resources.io_max):
        for name, value in entry.limits():
            line = f"{entry.device} {_rate(value)}"
            yield _Setting("blkio", _V1_RATES[name], line, ("resources", "io_max", at))
    yield from _io_weight(inputs, "blkio")


def _v1_memory(inputs: Inputs) -> Iterator[_Setting]:
    """Version 1 limits memory and swap together: the second bound is the sum of both."""
    if inputs.profile.resources.memory_high not in {None, _UNLIMITED}:
        inputs.lacks_optional(
            "resources.memory_high",
            ("resources", "memory_high"),
            "cgroup version 1 has no such limit",
            f"leave it out for memory_max alone, or {_V2_ONLY}",
        )
    most, swap = _memory(inputs, "memory_max"), _memory(inputs, "memory_swap_max")
    if most is not None:
        yield _Setting("memory", "memory.limit_in_bytes", most, ("resources", "memory_max"))
    if swap is not None:
        key: KeyPath = ("resources", "memory_swap_max")
        if most is None:
            inputs.lacks(
                key,
                "cgroup version 1 limits swap only together with memory",
                f"set memory_max too, or {_V2_ONLY}",
            )
        total = min(int(most) + int(swap), 2**63 - 1)
        yield _Setting("memory", "memory.memsw.limit_in_bytes", str(total), key)


def _memory(inputs: Inputs, name: str) -> str | None:
    """The bound in bytes; None where there is none to set."""
    key: KeyPath = ("resources", name)
    value = getattr(inputs.profile.resources, name)
    bound = None if value is None else units.memory(value)
    if bound is None:
        return None
    if name == "memory_swap_max" and not inputs.host.cgroups.swap:
        inputs.lacks(
            key,
            "this kernel doesn't count swap space",
            "boot with swapaccount=1, or use a kernel with CONFIG_SWAP and CONFIG_MEMCG_SWAP",
        )
    if isinstance(bound, units.Share):
        bound = bound.of(inputs.host.memory)
    if name == "memory_high":
        most = _memory(inputs, "memory_max")
        if most is not None and bound > int(most):
            what = f"{value} is above memory_max ({inputs.profile.resources.memory_max})"
            inputs.conflict(key, f"{what} on this machine, so it never takes effect", "lower it")
    return str(bound)


def _numbers(file: str, value: str | None, inputs: Inputs) -> Iterator[_Setting]:
    """The kernel takes numbers that it doesn't have, and version 2 then limits nothing."""
    if value is None:
        return
    key: KeyPath = ("resources", file.replace(".", "_"))
    what, had = "processor", inputs.host.cpus
    if file == "cpuset.mems":
        what, had = "memory node", inputs.host.memory_nodes
    missing = units.number_list(value) - had
    if missing:
        inputs.lacks(
            key,
            f"this machine has no {what} {units.number_list_text(missing)} (or it is offline)",
            f"it has {units.number_list_text(had)}",
        )
    yield _Setting("cpuset", file, value, key)


def _pids(inputs: Inputs) -> Iterator[_Setting]:
    value = inputs.profile.resources.pids_max
    if value not in {None, _UNLIMITED}:
        yield _Setting("pids", "pids.max", str(value), ("resources", "pids_max"))


def _rate(value: int | str) -> str:
    return str(units.size(value))


def _io_weight(inputs: Inputs, controller: str) -> Iterator[_Setting]:
    """A weight that nothing heeds would be no limit."""
    weight = inputs.profile.resources.io_weight
    if weight is None:
        return
    key: KeyPath = ("resources", "io_weight")
    feature: Feature = "resources.io_weight"
    if not inputs.host.cgroups.io_weights:
        inputs.lacks_optional(
            feature,
            key,
            "no disk of this host has a scheduler that heeds weights",
            "give the disk one: echo bfq > /sys/block/DISK/queue/scheduler",
        )
    for file in inputs.host.cgroups.io_weights:
        # bfq knows 1 to 1000, and 100 means the same to both.
        high = 100 + (weight - 100) * 900 // 9900 if weight > 100 else weight
        yield _Setting(controller, file, str(weight if file == "io.weight" else high), key)
