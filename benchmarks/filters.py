"""The filters that are compared: sbx's own, libseccomp's of the same policy, and the peers'.

A peer's is read back from the kernel (PTRACE_SECCOMP_GET_FILTER) while its payload sleeps, so that
all can be loaded by the same program and nothing but the filter differs. That needs root.
"""

import ctypes
import os
import platform
import shutil
import struct
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from benchmarks import building, common, places, records
from benchmarks.common import BenchmarkError, Times
from benchmarks.peers import Peer, peers
from sandbox.plan.seccomp import SeccompPolicy, compile_filter, compile_libseccomp

SERVICE: Final = SeccompPolicy(allow=("@service",))
SBX: Final = "sbx, @service"
Samples = dict[str, list[list[float]]]
"""Nanoseconds by subject, then by round: one for "load", four for "calls"."""
_SLEEP: Final = "/bin/sleep"
_SIZE: Final = 8
_SEIZE, _INTERRUPT, _DETACH, _GET_FILTER = 0x4206, 0x4207, 17, 0x420C
_WAIT_ALL: Final = 0x40000000


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """Filters that are loaded together, the first one first. None: no filter."""

    name: str
    programs: Sequence[bytes] = ()

    @property
    def instructions(self) -> int:
        return sum(len(program) for program in self.programs) // _SIZE


def own() -> list[Subject]:
    """No filter, the smallest one there is, and ours."""
    machine = platform.machine()
    program = SeccompPolicy(allow=("@program",))
    return [
        Subject(name="no filter"),
        Subject(name="one that allows all", programs=(struct.pack("<HBBI", 6, 0, 0, 0x7FFF0000),)),
        Subject(name=SBX, programs=(compile_filter(SERVICE, machine),)),
        Subject(name="sbx, @program", programs=(compile_filter(program, machine),)),
        Subject(name="libseccomp's of @service", programs=(compile_libseccomp(SERVICE, machine),)),
    ]


def of_peers(scratch: str) -> tuple[list[Subject], dict[str, str]]:
    """The filters of the peers that work here; and why the others don't."""
    found: list[Subject] = []
    absent: dict[str, str] = {}
    for peer in _peers(scratch):
        command = peer.command([_SLEEP, "30"])
        if os.geteuid() != 0 or not os.access(command[0], os.X_OK):
            absent[peer.name] = f"{command[0]} is not installed, or needs root"
            continue
        try:
            programs = _read_back(peer, scratch)
        except (BenchmarkError, OSError) as error:
            absent[peer.name] = str(error)
            continue
        if programs:
            found.append(Subject(name=peer.name, programs=programs))
        else:
            absent[peer.name] = "no filter"
    return found, absent


def _peers(scratch: str) -> list[Peer]:
    """The peers with the filter that they have by default, or for services."""
    known = {peer.name: peer for peer in peers(None, scratch)}

    def with_words(name: str, words: str, but: str = "") -> Peer:
        peer = known[name]

        def command(payload: Sequence[str]) -> list[str]:
            first, *rest = peer.command(payload)
            for word in but.split():
                rest.remove(word)
            if not but:
                return [first, *words.split(), *rest]
            return [first, *rest]

        return Peer(name=f"{name}{' ' + words if words else ''}", command=command, place=peer.place)

    return [
        with_words("podman", "", "--security-opt seccomp=unconfined"),
        with_words("firejail", "--seccomp"),
        known["systemd-nspawn"],
        with_words("systemd-run", "-pSystemCallFilter=@system-service"),
        known["minijail0"],
    ]


def _read_back(peer: Peer, scratch: str) -> list[bytes]:
    # An engine's payload is no descendant of its command, so it is known by what it sleeps for.
    seconds = f"30.{os.getpid()}"
    command = peer.command([_SLEEP, seconds])
    if peer.place.setup:
        script = f'{peer.place.setup}\nexec "$@"'
        command = [*places.OWN_MOUNTS, "sh", "-c", script, "sh", *command]
    process = subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env=places.environment(scratch),
        cwd="/",
    )
    try:
        return filters_of(_await(process, seconds))
    finally:
        for pid in _sleeping(seconds):
            os.kill(pid, 9)
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _await(process: "subprocess.Popen[bytes]", seconds: str) -> int:
    end = time.monotonic() + 10
    while time.monotonic() < end:
        if process.poll() is not None:
            raise BenchmarkError(f"ended with {process.returncode} before its payload ran")
        found = _sleeping(seconds)
        if found:
            return found[0]
        time.sleep(0.01)
    raise BenchmarkError("the payload didn't start")


def _sleeping(seconds: str) -> list[int]:
    found: list[int] = []
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            try:
                with open(f"/proc/{entry}/cmdline", "rb") as file:
                    argv = file.read().split(b"\0")
                with open(f"/proc/{entry}/comm", encoding="utf-8") as file:
                    program = file.read().strip()
            except (FileNotFoundError, ProcessLookupError):
                continue
            if argv[:2] == [_SLEEP.encode(), seconds.encode()] and program == "sleep":
                found.append(int(entry))
    return found


def filters_of(pid: int) -> list[bytes]:
    """The filters of a process, the one that was loaded first in front."""
    libc = ctypes.CDLL(None, use_errno=True)
    libc.ptrace.restype = ctypes.c_long
    libc.ptrace.argtypes = [ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p]

    def ptrace(request: int, address: int = 0, data: object = None) -> int:
        done = int(libc.ptrace(request, pid, address, data))
        if done < 0:
            raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
        return done

    ptrace(_SEIZE)
    try:
        ptrace(_INTERRUPT)
        os.waitpid(pid, _WAIT_ALL)
        programs: list[bytes] = []
        while True:
            try:
                length = ptrace(_GET_FILTER, len(programs))
            except FileNotFoundError:
                return programs[::-1]
            buffer = ctypes.create_string_buffer(length * _SIZE)
            ptrace(_GET_FILTER, len(programs), buffer)
            programs.append(buffer.raw)
    finally:
        ptrace(_DETACH)


def run(mode: str, rounds: int, subjects: Sequence[Subject], scratch: str) -> Samples:
    """Load each subject's filters in turn, or make calls under them."""
    arguments = []
    for place, subject in enumerate(subjects):
        files = []
        for number, program in enumerate(subject.programs):
            path = os.path.join(scratch, f"filter-{place}-{number}")
            with open(path, "wb") as file:
                file.write(program)
            files.append(path)
        arguments.append(",".join(files) or "-")
    command = [building.build("filters"), mode, str(rounds), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise BenchmarkError(done.stderr.strip())
    samples: Samples = {subject.name: [] for subject in subjects}
    for line in done.stdout.splitlines():
        which, *figures = line.split()
        samples[subjects[int(which)].name].append([float(figure) for figure in figures])
    return samples


def times(samples: Samples) -> dict[str, list[Times]]:
    return {
        name: [common.times(column) for column in zip(*rows, strict=True)]
        for name, rows in samples.items()
    }


def difference(samples: Samples, one: str, other: str, column: int) -> Times:
    """How much more `one` takes than `other`, round by round."""
    pairs = zip(samples[one], samples[other], strict=True)
    return common.times([mine[column] - theirs[column] for mine, theirs in pairs])


def facts() -> Mapping[str, object]:
    found = records.facts(None)
    if shutil.which("ldconfig"):
        done = subprocess.run(["ldconfig", "-p"], capture_output=True, text=True, check=False)
        names = [line.split()[-1] for line in done.stdout.splitlines() if "libseccomp.so" in line]
        found["libseccomp"] = os.path.basename(os.path.realpath(names[0])) if names else "not there"
    return found
