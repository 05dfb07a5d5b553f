"""Compiled plans, kept so that the native launcher can start without Python.

`csrc/cache.c` is the reader: names, places and what makes a plan stale must be the same there.
"""

import contextlib
import errno
import os
import secrets
import stat
from collections.abc import Iterator, Mapping, Sequence
from typing import Final

import msgspec

from sandbox._paths import cache_dir
from sandbox.plan import codec
from sandbox.plan.record import FileStamp, NameStamp, Plan, PlanFlag, Watched

# A file's times come from a clock that is up to one tick behind (CONFIG_HZ=100).
TICK_NS: Final = 12_000_000
# Each working directory and each profile has its own plan: beyond this many, old ones go.
MAX_PLANS: Final = 256
# How many --set the launcher reads, and how many bytes of them fit a key; the same in csrc.
MAX_SETS: Final = 32
SETS_MAX: Final = 4096

_PACKAGE: Final = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
_DIRECTORY_FLAGS: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_NEW_FILE_FLAGS: Final = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC


_PATH_MAX: Final = 4096
# As the launcher sees itself.
_ITSELF: Final = "/proc/self/exe"
# A path that leads nowhere; the same in file_is_same of csrc/cache.c.
_MISSING: Final = frozenset({errno.ENOENT, errno.ENOTDIR, errno.ELOOP})


class _NotKeptError(Exception):
    """The plan can't be kept; why."""


def key(profile: str, cwd: str, *, for_cwd: bool, sets: Sequence[str] = ()) -> str:
    """What the command line names, without looking at the file system; `sets` are its --set.

    The stamps in the plan tell whether it is still the same profile.
    """
    if "/" in profile or profile.endswith(".toml"):
        joined = profile if profile.startswith("/") else f"{cwd.rstrip('/')}/{profile}"
        text = f"path:{joined}"
    else:
        text = f"name:{profile}"
    text = "".join(f"set:{len(os.fsencode(part)):016x}:{part}" for part in sets) + text
    return f"{text}\0cwd:{cwd}" if for_cwd else text


def _check_sets(sets: Sequence[str]) -> None:
    """What the launcher has no room for it doesn't look for."""
    length = sum(len("set::") + 16 + len(os.fsencode(part)) for part in sets)
    if len(sets) > MAX_SETS or length >= SETS_MAX:
        raise _NotKeptError("the command line has too much of --set")


def file_name(text: str) -> str:
    """The name of the file for a key."""
    return f"{codec.checksum(os.fsencode(text)):016x}"


def store(
    plan: Plan,
    *,
    profile: str,
    cwd: str,
    environ: Mapping[str, str],
    started_ns: int,
    sets: Sequence[str] = (),
    launcher: str = "",
) -> str:
    """Keep the plan for the next launch; the reason if that isn't possible, else nothing.

    `profile` and `sets` (each NAME=VALUE) are what the command line says, and nothing else of the
    command line may have changed the plan. `started_ns` is a time (of time.time_ns) before the
    first of the plan's files was read. `launcher` is the program that may run it: another
    installation has profiles and code of its own. Not to be able to keep a plan is no error: every
    launch works without.
    """
    name = NameStamp(key=key(profile, cwd, for_cwd=False, sets=sets))
    plan = msgspec.structs.replace(plan, stamps=(*plan.stamps, name))
    try:
        _check_sets(sets)
        content = codec.encode(stamped(plan, started_ns, launcher))
        directory = _open_directory(cache_dir(environ, os.geteuid()))
    except (_NotKeptError, codec.BadPlanError) as error:
        return str(error)
    except OSError as error:
        return f"{error.filename}: {error.strerror}"
    try:
        text = key(profile, cwd, for_cwd=bool(plan.flags & PlanFlag.FOR_CWD), sets=sets)
        _replace(directory, file_name(text), content)
    except OSError as error:
        return f"the plan could not be written: {error.strerror}"
    finally:
        os.close(directory)
    return ""


def trouble(environ: Mapping[str, str]) -> str:
    """Why the caller's plans can't be kept, found by trying; nothing where they can."""
    try:
        directory = _open_directory(cache_dir(environ, os.geteuid()))
    except _NotKeptError as error:
        return str(error)
    except OSError as error:
        return f"{error.filename}: {error.strerror}"
    name = file_name("trial")
    try:
        _replace(directory, name, b"")
        os.unlink(name, dir_fd=directory)
    except OSError as error:
        return f"nothing can be written to {cache_dir(environ, os.geteuid())}: {error.strerror}"
    finally:
        os.close(directory)
    return ""


def stamped(plan: Plan, started_ns: int, launcher: str = "") -> Plan:
    """The plan with the state of every file that it depends on."""
    watched = [*plan.watched, *(Watched(path, follow=True) for path in _own_files())]
    stamps = [*plan.stamps, *(_stamp(item) for item in watched)]
    for stamp in stamps:
        if isinstance(stamp, FileStamp) and stamp.ctime_ns > started_ns - TICK_NS:
            raise _NotKeptError(f"{stamp.path} has changed just now")
    if launcher:
        itself = _stamp(Watched(launcher, follow=True))
        stamps.append(msgspec.structs.replace(itself, path=_ITSELF))
    return msgspec.structs.replace(plan, stamps=tuple(stamps), watched=())


def _stamp(item: Watched) -> FileStamp:
    try:
        state = os.stat(item.path, follow_symlinks=item.follow)
    except OSError as error:
        if error.errno not in _MISSING:
            raise
        return FileStamp(
            path=item.path,
            follow=int(item.follow),
            exists=0,
            device=0,
            inode=0,
            size=0,
            mtime_ns=0,
            ctime_ns=0,
        )
    if item.any_state:
        return FileStamp(
            path=item.path,
            follow=int(item.follow),
            exists=2,
            device=state.st_dev,
            inode=state.st_ino,
            size=0,
            mtime_ns=0,
            ctime_ns=0,
        )
    return FileStamp(
        path=item.path,
        follow=int(item.follow),
        exists=1,
        device=state.st_dev,
        inode=state.st_ino,
        size=state.st_size,
        mtime_ns=state.st_mtime_ns,
        ctime_ns=state.st_ctime_ns,
    )


def _own_files() -> Iterator[str]:
    """What tells that sbx itself is another one, although its version is the same.

    An installer replaces all files together, so one stands for them; in a source tree each is
    edited alone.
    """
    if {"site-packages", "dist-packages"} & set(_PACKAGE.split("/")):
        yield f"{_PACKAGE}/plan/compile.py"
        return
    yield f"{_PACKAGE}/host.py"
    yield f"{_PACKAGE}/units.py"
    for part in ("plan", "profile"):
        for name in sorted(os.listdir(f"{_PACKAGE}/{part}")):
            if name.endswith(".py"):
                yield f"{_PACKAGE}/{part}/{name}"


def _open_directory(path: str | None) -> int:
    """A descriptor of the directory, made if it is missing; only one that is the user's alone."""
    if path is None:
        raise _NotKeptError("neither XDG_CACHE_HOME nor HOME is an absolute path")
    _make_directories(path, 0o700)
    try:
        directory = os.open(path, _DIRECTORY_FLAGS)
    except OSError as error:
        if error.errno in {errno.ELOOP, errno.ENOTDIR}:
            raise _NotKeptError(f"{path} isn't a directory") from error
        raise
    state = os.fstat(directory)
    if state.st_uid != os.geteuid() or stat.S_IMODE(state.st_mode) != 0o700:
        os.close(directory)
        raise _NotKeptError(f"{path} must be the user's own, with mode 0700")
    return directory


def _make_directories(path: str, mode: int) -> None:
    """The directory with those above it that are missing, whatever the caller's umask is."""
    if len(os.fsencode(path)) >= _PATH_MAX:
        raise _NotKeptError(f"a path of {len(path)} characters: {os.strerror(errno.ENAMETOOLONG)}")
    missing = []
    above = path
    while above != "/" and not os.path.isdir(above):
        missing.append(above)
        above = os.path.dirname(above)
    # Above root's are directories of the whole system, above a user's that user's alone.
    modes = [mode, *[0o755 if os.geteuid() == 0 else 0o700] * len(missing)]
    for directory, bits in reversed(list(zip(missing, modes, strict=False))):
        with contextlib.suppress(FileExistsError):
            os.mkdir(directory, 0o700)
            os.chmod(directory, bits)


def _replace(directory: int, name: str, content: bytes) -> None:
    """Whole or not at all: readers see the old file until the new one is complete."""
    temporary = f".{name}.{secrets.token_hex(8)}"
    _make_room(directory)
    file = os.open(temporary, _NEW_FILE_FLAGS, 0o600, dir_fd=directory)
    try:
        try:
            os.fchmod(file, 0o600)  # whatever the caller's umask is
            rest = memoryview(content)
            while rest:
                rest = rest[os.write(file, rest) :]
        finally:
            os.close(file)
        os.rename(temporary, name, src_dir_fd=directory, dst_dir_fd=directory)
    except BaseException:
        os.unlink(temporary, dir_fd=directory)
        raise


def _make_room(directory: int) -> None:
    """Past the limit the older half goes, with whatever a killed writer left."""
    names = os.listdir(directory)
    if len(names) < MAX_PLANS:
        return
    ages = []
    for name in names:
        try:
            ages.append((os.stat(name, dir_fd=directory, follow_symlinks=False).st_mtime_ns, name))
        except FileNotFoundError:  # another writer makes room as well
            continue
    for _, name in sorted(ages)[: MAX_PLANS // 2]:
        try:
            os.unlink(name, dir_fd=directory)
        except (FileNotFoundError, IsADirectoryError):
            continue
