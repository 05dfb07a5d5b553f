"""Takes bubblewrap's options, makes a profile of them and starts sbx: for bubblewrap's own tests.

    SBX=/usr/bin/sbx SBX_SHIM_DIR=/tmp/profiles python bwrap.py --ro-bind / / --tmpfs /tmp true

An option that no key of a profile stands for is refused by its name. Order decides in bubblewrap
and never in sbx, so what a later mount covers is left out.
"""

import json
import os
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final, NoReturn

SPACES: Final = ("user", "ipc", "pid", "net", "uts", "cgroup")
WITHOUT_KEY: Final = {
    "--add-seccomp-fd": 1, "--assert-userns-disabled": 0, "--block-fd": 1, "--chmod": 2,
    "--disable-userns": 0, "--exec-label": 1, "--file-label": 1, "--info-fd": 1,
    "--json-status-fd": 1, "--level-prefix": 0, "--lock-file": 1, "--mqueue": 1, "--pidns": 1,
    "--ro-overlay": 1, "--seccomp": 1, "--symlink": 2, "--sync-fd": 1, "--userns": 1,
    "--userns-block-fd": 1, "--userns2": 1, "--argv0": 1, "--bind-data": 2,
}  # fmt: skip
"""Options that sbx has nothing for, with how many words follow each."""


def refuse(text: str) -> NoReturn:
    sys.stderr.write(f"bwrap: {text}\n")
    sys.exit(1)


@dataclass
class Sandbox:
    """What the options ask for, so far."""

    root: str = ""
    mounts: dict[str, dict[str, Any]] = field(default_factory=dict)
    environment: dict[str, str] = field(default_factory=lambda: dict(os.environ))
    new: set[str] = field(default_factory=set)
    keep: set[str] = field(default_factory=set)
    lower: list[str] = field(default_factory=list)
    process: dict[str, Any] = field(default_factory=dict)
    identity: dict[str, int] = field(default_factory=dict)
    hostname: str = ""
    proc: bool = False
    dev: bool = False
    perms: str = ""
    size: int = 0

    def mount(self, target: str, **what: Any) -> None:
        """One more mount, which hides what is at its target and below."""
        above = target.rstrip("/") + "/"
        kept = self.mounts.items()
        self.mounts = {path: m for path, m in kept if not (path + "/").startswith(above)}
        self.mounts[target] = what

    def bind(self, source: str, target: str, *, writable: bool, optional: bool = False) -> None:
        if target == "/":
            self.mounts.clear()
            self.root = source
            self.process["writable"] = writable
            return
        self.mount(
            target,
            type="bind",
            source=os.path.abspath(source),
            writable=writable,
            execute=True,
            optional=optional,
        )

    def memory(self, target: str) -> None:
        self.mount(
            target,
            type="tmpfs",
            execute=True,
            mode=self._taken_perms("0755"),
            size=self.size or "64M",
        )
        self.size = 0

    def directory(self, target: str) -> None:
        """An empty directory is one in memory, unless the root's own is shown."""
        perms = self._taken_perms("0755")
        if not (self.root and os.path.isdir(self.root.rstrip("/") + target)) or self._hidden(
            target
        ):
            self.mount(target, type="tmpfs", execute=True, mode=perms, size="64K")

    def _hidden(self, target: str) -> bool:
        return any((target + "/").startswith(path + "/") for path in self.mounts)

    def file(self, descriptor: str, target: str) -> None:
        if self.perms:
            refuse("sbx has no key for the mode of a file (--perms)")
        with open(int(descriptor), encoding="utf-8", closefd=False) as content:
            self.mount(target, type="file", content=content.read().replace("$", "$$"))

    def overlay(self, target: str, upper: str = "") -> None:
        if not self.lower:
            refuse(
                f"{'--overlay' if upper else '--tmp-overlay'} requires at least one --overlay-src"
            )
        layers = {"lower": [os.path.abspath(path) for path in reversed(self.lower)]}
        more = {"upper": os.path.abspath(upper)} if upper else {}
        self.lower.clear()
        self.mount(target, type="overlay", execute=True, writable=True, **layers, **more)

    def read_only(self, target: str) -> None:
        if target == "/":
            self.process["writable"] = False
        elif self.mounts.get(target, {}).get("type") == "bind":
            self.mounts[target]["writable"] = False
        else:
            refuse(f"sbx has no key for --remount-ro {target}")

    def _taken_perms(self, default: str) -> str:
        perms, self.perms = self.perms or default, ""
        return perms


def options(box: Sandbox) -> dict[str, tuple[int, Callable[..., object]]]:
    """For each option how many words follow it, and what it does."""
    process, spaces = box.process, box.new

    def size(text: str) -> None:
        if box.size:
            refuse("--size given twice for the same action")
        if not (text.isascii() and text.isdigit() and 0 < int(text) < 1 << 63):
            refuse(f"--size takes a non-zero number of bytes, not '{text}'")
        box.size = int(text)

    def perms(text: str) -> None:
        if box.perms:
            refuse("--perms given twice for the same action")
        box.perms = text.zfill(4)

    def capability(name: str, *, keep: bool) -> None:
        all_of_them = {f"CAP_{word}" for word in _capabilities()}
        named = all_of_them if name == "ALL" else {name}
        box.keep = box.keep | named if keep else box.keep - named

    def by_descriptor(descriptor: str, target: str, *, writable: bool) -> None:
        source = os.readlink(f"/proc/self/fd/{int(descriptor)}")
        box.bind(source, target, writable=writable)

    binds = {
        f"--{prefix}bind{suffix}": (
            2,
            lambda a, b, w=prefix != "ro-", o=suffix == "-try": box.bind(
                a, b, writable=w, optional=o
            ),
        )
        for prefix in ("", "ro-", "dev-")
        for suffix in ("", "-try")
    }
    unshared = {
        f"--unshare-{name}{suffix}": (0, lambda n=name: spaces.add(n))
        for name in SPACES
        for suffix in ("", "-try")
    }
    return {
        **binds,
        **unshared,
        "--bind-fd": (2, lambda a, b: by_descriptor(a, b, writable=True)),
        "--ro-bind-fd": (2, lambda a, b: by_descriptor(a, b, writable=False)),
        "--unshare-all": (0, lambda: spaces.update(SPACES)),
        "--share-net": (0, lambda: spaces.discard("net")),
        "--proc": (1, lambda path: box.__setattr__("proc", _only("/proc", path))),
        "--dev": (1, lambda path: box.__setattr__("dev", _only("/dev", path))),
        "--tmpfs": (1, box.memory),
        "--dir": (1, box.directory),
        "--file": (2, box.file),
        "--ro-bind-data": (2, box.file),
        "--overlay-src": (1, box.lower.append),
        "--overlay": (3, lambda upper, _work, target: box.overlay(target, upper)),
        "--tmp-overlay": (1, box.overlay),
        "--remount-ro": (1, box.read_only),
        "--perms": (1, perms),
        "--size": (1, size),
        "--setenv": (2, box.environment.__setitem__),
        "--unsetenv": (1, lambda name: box.environment.pop(name, None)),
        "--clearenv": (0, box.environment.clear),
        "--chdir": (1, lambda path: process.__setitem__("cwd", path)),
        "--die-with-parent": (0, lambda: process.__setitem__("die_with_parent", True)),
        "--new-session": (0, lambda: process.__setitem__("new_session", True)),
        "--as-pid-1": (0, lambda: process.__setitem__("init", False)),
        "--hostname": (1, lambda name: box.__setattr__("hostname", name)),
        "--uid": (1, lambda number: box.identity.__setitem__("user", int(number))),
        "--gid": (1, lambda number: box.identity.__setitem__("group", int(number))),
        "--cap-add": (1, lambda name: capability(name, keep=True)),
        "--cap-drop": (1, lambda name: capability(name, keep=False)),
    }


def _capabilities() -> list[str]:
    from sandbox.capabilities import CAPABILITY_NAMES
    from sandbox.host import probe

    last = probe().last_capability
    return [name.removeprefix("CAP_") for name in CAPABILITY_NAMES][: last + 1]


def _only(wanted: str, path: str) -> bool:
    if path != wanted:
        refuse(f"sbx has no key for one at {path}, only at {wanted}")
    return True


def parse(words: list[str], box: Sandbox) -> list[str]:
    """Heeds the options; the command is what is left."""
    known = options(box)
    words = list(words)
    while words and words[0].startswith("--"):
        word = words.pop(0)
        if word == "--":
            break
        if word == "--args":
            with open(int(words.pop(0)), encoding="utf-8", closefd=False) as file:
                words[:0] = file.read().removesuffix("\0").split("\0")
            continue
        if word in WITHOUT_KEY:
            refuse(f"sbx has no key for {word}")
        if word not in known:
            refuse(f"Unknown option {word}")
        count, act = known[word]
        if len(words) < count:
            refuse(f"{word} takes {count} arguments")
        act(*words[:count])
        del words[:count]
    return words


def profile(box: Sandbox) -> str:
    """The profile's text."""
    process = {"new_session": False, "die_with_parent": False, "cwd": os.getcwd(), **box.process}
    process["umask"] = "inherit"
    writable = process.pop("writable", True)
    spaces = {name: name in box.new for name in ("ipc", "uts", "cgroup")}
    # An own /proc shows the processes of a namespace; sbx has it new whenever it mounts one.
    spaces |= {"pid": box.proc or "pid" in box.new, "time": False}
    tables: dict[str, dict[str, Any]] = {
        "process": process,
        "environment": {"set": {**box.environment, "PWD": process["cwd"]}},
        "namespaces": spaces | ({"hostname": box.hostname} if box.hostname else {}),
        "network": {"mode": "none" if "net" in box.new else "host"},
        "identity": _identity(box),
        "capabilities": {"keep": sorted(box.keep), "ambient": bool(box.keep)},
        "filesystem": {"proc": "writable" if box.proc else "none"},
        "devices": {"dev": "private" if box.dev else "none"},
        "seccomp": {"enabled": False},
        "landlock": {"enabled": False},
    }
    if box.root:
        tables["rootfs"] = {"type": "directory", "path": os.path.abspath(box.root)}
        tables["filesystem"] |= {"execute": ["/"], "write" if writable else "read": ["/"]}
    lines = ["schema = 1"]
    for name, table in tables.items():
        lines += [f"[{name}]", *(f"{key} = {_toml(value)}" for key, value in table.items())]
    for target, mount in box.mounts.items():
        lines += ["[[mounts]]", f"target = {_toml(target)}"]
        lines += [f"{key} = {_toml(value)}" for key, value in mount.items() if value is not False]
    return "\n".join(lines) + "\n"


def _identity(box: Sandbox) -> dict[str, Any]:
    if not box.identity or "user" not in box.new:
        return {"map": "self"}
    if set(box.identity.values()) == {0}:
        return {"map": "root", "user": "root", "group": "root"}
    return {"map": "self", **box.identity}


def _toml(value: Any) -> str:
    if isinstance(value, dict):
        pairs = (f"{json.dumps(key)} = {_toml(each)}" for key, each in value.items())
        return "{ " + ", ".join(pairs) + " }"
    text = json.dumps(value, ensure_ascii=False)
    return text.replace("\x7f", "\\u007f")


def main(words: list[str]) -> NoReturn:
    if words == ["--help"]:
        sys.stdout.write(f"usage: {os.environ['BWRAP']} [OPTIONS...] [--] COMMAND [ARGS...]\n")
        sys.exit()
    box = Sandbox()
    command = parse(words, box)
    if box.lower:
        refuse(
            "--overlay-src must be followed by another --overlay-src or one of --overlay, "
            "--tmp-overlay, or --ro-overlay"
        )
    if not command:
        refuse("No command specified")
    # It stays for the one who has made the directory, since sbx takes this process's place.
    descriptor, path = tempfile.mkstemp(suffix=".toml", dir=os.environ["SBX_SHIM_DIR"])
    with open(descriptor, "w", encoding="utf-8") as file:
        file.write(profile(box))
    sbx = os.environ["SBX"]
    os.execv(sbx, [sbx, "run", "--profile", path, "--", *command])


if __name__ == "__main__":
    main(sys.argv[1:])
