"""Every line of a process's mountinfo against the plan's mounts. Pure but for the look at paths."""

from collections.abc import Callable, Iterator
from typing import Final, NamedTuple

from sandbox._mountinfo import Mount, Table
from sandbox.plan.kernel import Attr
from sandbox.verify.mount_promises import MountPromise, Need, Source

_FLAGS: Final = {
    "ro": Attr.RDONLY,
    "nosuid": Attr.NOSUID,
    "nodev": Attr.NODEV,
    "noexec": Attr.NOEXEC,
}
_MADE: Final = ".sbx-"
"""How csrc/root.c names what it covers paths with."""


class Where(NamedTuple):
    """Where a path leads."""

    path: str
    exists: bool
    known: bool = True
    """False: this user may not look there."""


Look = Callable[[str, bool], Where]
"""A path, and whether a last link is followed."""


class Difference(NamedTuple):
    """One mount that isn't as promised; `is_known` False: that can't be told."""

    point: str
    promised: str
    found: str
    is_known: bool = True


class _Claim(NamedTuple):
    promise: MountPromise
    mount: Mount
    origin: str
    """The path on the host that the mount shows; empty for none."""


def differences(
    promises: tuple[MountPromise, ...], table: Table, host: Table, inside: Look, outside: Look
) -> Iterator[Difference]:
    """What in `table` isn't promised, and what is promised and isn't there."""
    yield from _Comparison(table, host, inside, outside).all(promises)


class _Comparison:
    def __init__(self, table: Table, host: Table, inside: Look, outside: Look) -> None:
        self.table = table
        self.host = host
        self.inside = inside
        self.outside = outside
        self.claims: dict[int, _Claim] = {}
        self.hosts = {mount.device for mount in host.mounts}

    def all(self, promises: tuple[MountPromise, ...]) -> Iterator[Difference]:
        for promise in promises:
            yield from self._one(promise)
        for mount in self.table.mounts:
            if mount.propagation:
                yield Difference(mount.point, "private", " ".join(mount.propagation))
            if mount.number not in self.claims:
                yield from self._brought_along(mount)

    # ---- What the plan names ----

    def _one(self, promise: MountPromise) -> Iterator[Difference]:
        where = self.inside(promise.path, promise.follow)
        origin = ""
        if promise.source == Source.HOST:
            origin = self.outside(promise.origin, True).path
        elif promise.source == Source.INSIDE:
            origin = self.inside(promise.origin, promise.follow).path
        for point in dict.fromkeys((where.path, promise.path)):
            for mount in self.table.mounts:
                if (
                    mount.point == point
                    and mount.number not in self.claims
                    and self._fits(promise, mount, origin)
                ):
                    self.claims[mount.number] = _Claim(promise, mount, origin)
                    yield from self._flags(promise, mount, origin)
                    return
        yield from self._missing(promise, where)

    def _fits(self, promise: MountPromise, mount: Mount, origin: str) -> bool:
        match promise.source:
            case Source.NEW:
                is_new = mount.device not in self.hosts
                return is_new and mount.kind == promise.kind and mount.root == "/"
            case Source.COVER:
                name = mount.root.rpartition("/")[2]
                is_new = mount.device not in self.hosts
                return is_new and mount.kind == "tmpfs" and name.startswith(_MADE)
            case Source.SOCKET:
                return mount.root.endswith("/notify")
            case Source.HOST:
                return self._is_part(self.host.at(origin), mount)
            case Source.INSIDE:
                # The mount that it is a part of may itself lie at this very place.
                above = self.table.by_number.get(mount.parent)
                return above is not None and self._is_part(self._below(above, origin), mount)

    @staticmethod
    def _is_part(found: tuple[Mount, str] | None, mount: Mount) -> bool:
        return found is not None and (found[0].device, found[1]) == (mount.device, mount.root)

    def _below(self, above: Mount, path: str) -> tuple[Mount, str]:
        """What `above` shows at a path on it."""
        rest = path[len(above.point) :] if above.point != "/" else path
        return above, f"{above.root.rstrip('/')}/{rest.lstrip('/')}".rstrip("/") or "/"

    def _flags(self, promise: MountPromise, mount: Mount, origin: str) -> Iterator[Difference]:
        of_source: Mount | None = None
        if promise.source == Source.HOST:
            found = self.host.at(origin)
            of_source = None if found is None else found[0]
        elif promise.source == Source.INSIDE:
            of_source = self.table.by_number.get(mount.parent)
        inherited = 0 if of_source is None else attributes_of(of_source)
        promised = promise.attributes | inherited & ~promise.drops
        if attributes_of(mount) != promised:
            yield Difference(mount.point, f"{_words(promised)} ({promise.words})", words_of(mount))
        was_mapped = of_source is not None and "idmapped" in of_source.flags
        if "idmapped" in mount.flags and not promise.maps_owner and not was_mapped:
            yield Difference(mount.point, f"owners as they are ({promise.words})", "idmapped")
        if promise.option and promise.option not in mount.options:
            yield Difference(mount.point, promise.option, ",".join(sorted(mount.options)))

    def _missing(self, promise: MountPromise, where: Where) -> Iterator[Difference]:
        match promise.need:
            case Need.MAYBE | Need.IF_SOURCE:
                return
            case Need.IF_THERE if not where.known:
                yield Difference(where.path, promise.words, "can't be looked at", is_known=False)
            case Need.IF_THERE if not where.exists:
                return
            case _:
                found = [m for m in self.table.mounts if m.point == where.path]
                words = "; ".join(map(words_of, found)) or "nothing is mounted there"
                yield Difference(where.path, promise.words, words)

    # ---- What comes along with a tree ----

    def _brought_along(self, mount: Mount) -> Iterator[Difference]:
        claim = self._governing(mount)
        nothing = "no mount"
        if claim is None or not claim.promise.recursive:
            yield Difference(mount.point, nothing, words_of(mount))
            return
        rest = mount.point[len(claim.mount.point.rstrip("/")) :]
        path = f"{claim.origin.rstrip('/')}{rest}"
        among = self.host if claim.promise.source == Source.HOST else self.table
        same = [
            each
            for each in among.mounts
            if each.point == path
            and (each.device, each.root) == (mount.device, mount.root)
            and (among is self.host or each.number != mount.number)
        ]
        if not same:
            where = "on the host" if among is self.host else "there when it was made"
            yield Difference(mount.point, f"{nothing} ({path} isn't one {where})", words_of(mount))
            return
        least = claim.promise.attributes
        allowed = {least | attributes_of(each) & ~claim.promise.drops for each in same}
        if attributes_of(mount) not in allowed:
            words = " or ".join(map(_words, sorted(allowed)))
            yield Difference(mount.point, f"{words} ({claim.promise.words})", words_of(mount))

    def _governing(self, mount: Mount) -> _Claim | None:
        """What the nearest mount below it was made for that the plan names."""
        seen = set()
        while mount.number not in seen:
            seen.add(mount.number)
            if mount.number in self.claims:
                return self.claims[mount.number]
            above = self.table.by_number.get(mount.parent)
            if above is None:
                return None
            mount = above
        return None


def attributes_of(mount: Mount) -> int:
    """Its flags as attributes of mount_setattr(2)."""
    return sum(bit for name, bit in _FLAGS.items() if name in mount.flags)


def _words(attributes: int) -> str:
    first = "ro" if attributes & Attr.RDONLY else "rw"
    rest = [name for name, bit in _FLAGS.items() if attributes & bit and bit != Attr.RDONLY]
    return ",".join([first, *rest])


def words_of(mount: Mount) -> str:
    """What it is, for people."""
    return f"{_words(attributes_of(mount))}: {mount.kind} {mount.device} {mount.root}"
