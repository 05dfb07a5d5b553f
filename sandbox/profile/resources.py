"""[resources]: limits of the whole sandbox, held by a control group of its own."""

from typing import Annotated

from msgspec import Meta

from sandbox.profile.values import (
    ByteRate,
    Count,
    CpuQuota,
    MemoryBound,
    NumberList,
    Path,
    SwapBound,
    Table,
    Weight,
)


class IoMax(Table, frozen=True, kw_only=True):
    """One [[resources.io_max]]: how fast the sandbox may use one disk."""

    device: Annotated[Path, Meta(description="The disk's device node, as on the host.")]
    rbps: Annotated[ByteRate, Meta(description="Bytes read in a second.")] = "max"
    wbps: Annotated[ByteRate, Meta(description="Bytes written in a second.")] = "max"
    riops: Annotated[Count, Meta(description="Requests to read in a second.")] = "max"
    wiops: Annotated[Count, Meta(description="Requests to write in a second.")] = "max"

    def limits(self) -> tuple[tuple[str, int | str], ...]:
        """What is limited, by the kernel's names."""
        names = ("rbps", "wbps", "riops", "wiops")
        found = ((name, getattr(self, name)) for name in names)
        return tuple((name, value) for name, value in found if value != "max")


class Resources(Table, frozen=True, kw_only=True):
    """[resources]: limits of the sandbox as a whole, by the names of cgroup v2. None by default."""

    cgroup: Annotated[
        bool,
        Meta(
            description="A control group of the sandbox's own even without a limit, to measure, "
            "pause and kill it by. Any limit brings one."
        ),
    ] = False
    memory_max: Annotated[
        MemoryBound | None, Meta(description="Memory; beyond it the kernel kills.")
    ] = None
    memory_high: Annotated[
        MemoryBound | None,
        Meta(description="Memory beyond which the sandbox is slowed down; cgroup v2 only."),
    ] = None
    memory_swap_max: Annotated[
        SwapBound | None, Meta(description="Swap space used over and above the memory.")
    ] = None
    cpu_max: Annotated[CpuQuota | None, Meta(description="Processor time.")] = None
    cpu_weight: Annotated[
        Weight | None,
        Meta(description="Share of busy processors beside others; 100 is usual."),
    ] = None
    cpuset_cpus: Annotated[
        NumberList | None, Meta(description="Processors that the sandbox runs on.")
    ] = None
    cpuset_mems: Annotated[
        NumberList | None, Meta(description="Memory nodes that the sandbox allocates from.")
    ] = None
    pids_max: Annotated[
        Count | None, Meta(description="Processes and threads, sbx's init among them.")
    ] = None
    io_max: Annotated[tuple[IoMax, ...], Meta(description="Rates of single disks.")] = ()
    io_weight: Annotated[
        Weight | None, Meta(description="Share of busy disks beside others; 100 is usual.")
    ] = None

    @property
    def wanted(self) -> bool:
        """The sandbox needs a control group."""
        values = (getattr(self, name) for name in self.__struct_fields__)
        limits = any(value not in {None, "max", (), False} for value in values)
        return limits or (self.memory_swap_max is not None and self.memory_swap_max != "max")
