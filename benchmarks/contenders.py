"""The sandboxes that attempts are made in: each with the options that its own manual recommends for an untrusted program.

What they are to grant is the same for all: one directory to read, one to write to, one program to
run; no capability, an own /tmp, /dev and /proc; no network, or the host's where an attempt is one on that.
"""

import functools
import json
import os
import shutil
import subprocess
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

from benchmarks.peers import FIRST_ID, RANGE, engine_place, engine_root
from benchmarks.places import OWN_MOUNTS, PLAIN, Place
from tests.isolation.scene import Scene

USER: Final = Place(name="user", user=61234)


@dataclass(frozen=True, slots=True, kw_only=True)
class Contender:
    """A sandbox as it is typed: `command` puts its options before the words of a payload."""

    name: str
    command: Callable[[Sequence[str]], list[str]]
    place: Place = PLAIN
    note: str = ""


def contenders(
    scene: Scene, scratch: str, sbx: str | None, profile: str, *, network: bool
) -> list[Contender]:
    """All of them, with the host's network or without any; whether one works here is seen by running it."""
    found = []
    if sbx:
        line = [sbx, "run", "--profile", profile, "--"]
        found = [
            Contender(name="sbx", command=lambda words: [*line, *words]),
            Contender(name="sbx, a normal user", command=lambda words: [*line, *words], place=USER),
        ]
    return [
        *found,
        Contender(
            name="bubblewrap",
            command=lambda words: bubblewrap(scene, words, network),
            note="bwrap(1) and its README: all namespaces, no further user namespaces, a new session; "
            "it brings no filter: --seccomp takes one that the caller has made",
        ),
        Contender(
            name="bubblewrap, a normal user",
            command=lambda words: bubblewrap(scene, words, network),
            place=USER,
            note="the same",
        ),
        Contender(
            name="firejail",
            command=lambda words: firejail(scene, words, network),
            place=Place(name="firejail", setup="mount -t tmpfs tmpfs /run"),
            note="firejail(1) and what its default.profile has: no capabilities, its default filter, few protocols, "
            "private /dev and /tmp",
        ),
        Contender(
            name="crun",
            command=lambda words: crun(scene, scratch, words, network),
            place=engine_place(scratch),
            note="what `crun spec` writes, with user namespace, no capabilities, a read-only root; it brings no filter",
        ),
        Contender(
            name="podman",
            command=lambda words: podman(scene, scratch, words, network),
            place=engine_place(scratch),
            note="podman-run(1): its default filter, --cap-drop=all, no-new-privileges, a read-only root, user namespace",
        ),
        Contender(
            name="systemd-nspawn",
            command=lambda words: nspawn(scene, scratch, words, network),
            place=engine_place(scratch),
            note="systemd-nspawn(1): its default filter, no capabilities, private users and network, a read-only root",
        ),
        Contender(
            name="systemd-run",
            command=lambda words: systemd_run(scene, scratch, words, network),
            note="systemd.exec(5): what `systemd-analyze security` asks for, with a root of its own",
        ),
    ]


def bubblewrap(scene: Scene, words: Sequence[str], network: bool) -> list[str]:
    names = scene.names
    options = (
        f"--unshare-all {'--share-net ' * network}--unshare-user --disable-userns --uid 1000 --gid 1000 --new-session --die-with-parent"
        " --cap-drop ALL --clearenv --setenv PATH /usr/bin:/bin --proc /proc --dev /dev --tmpfs /tmp"
    )
    binds = ("--ro-bind", names["data"], "--bind", names["work"], "--ro-bind", names["probe"])
    pairs = [word for flag, path in _pairs(binds) for word in (flag, path, path)]
    return [_which("bwrap"), *options.split(), *pairs, "--", *words]


def firejail(scene: Scene, words: Sequence[str], network: bool) -> list[str]:
    options = (
        f"--noprofile --quiet {'' if network else '--net=none'} --private-dev --private-tmp --caps.drop=all"
        " --nonewprivs --seccomp --seccomp.block-secondary --protocol=unix,inet,inet6 --ipc-namespace --nogroups --restrict-namespaces --disable-mnt --nodbus --read-only=/"
    )
    known = _firejail_help()
    usable = [word for word in options.split() if word.split("=", maxsplit=1)[0] in known]
    private = os.path.dirname(scene.names["secret"])
    return [
        *(_which("firejail"), *usable),
        *(f"--read-write={scene.names['work']}", f"--blacklist={private}", "--"),
        *words,
    ]


@functools.cache
def _firejail_help() -> str:
    """Its options differ from version to version."""
    if not shutil.which("firejail"):
        return ""
    command = [*OWN_MOUNTS, "firejail", "--help"]
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout


def crun(scene: Scene, scratch: str, words: Sequence[str], network: bool) -> list[str]:
    root = _root(scene, scratch)
    name = _name(words)
    path = os.path.join(scratch, f"bundle-{name}")
    os.makedirs(path, exist_ok=True)
    with open(os.path.join(path, "config.json"), "w", encoding="utf-8") as file:
        json.dump(_config(scene, root, words, network), file)
    return [_which("crun"), "--cgroup-manager=disabled", "run", "-b", path, name]


def podman(scene: Scene, scratch: str, words: Sequence[str], network: bool) -> list[str]:
    names = scene.names
    options = (
        "--runtime crun --cgroup-manager=cgroupfs run --rm --interactive"
        f" --network={'host' if network else 'none'} --read-only --cgroups=disabled"
        " --cap-drop=all --security-opt no-new-privileges --user 1000:1000 --ulimit nofile=1024:1024"
        f" --ulimit nproc=1000:1000 --uidmap=0:{FIRST_ID}:{RANGE}"
    )
    volumes = [f"--volume={names[each]}:{names[each]}:ro" for each in ("data", "probe")]
    volumes.append(f"--volume={names['work']}:{names['work']}:rw")
    root = _root(scene, scratch)
    return [_which("podman"), *options.split(), *volumes, "--rootfs", root, *words]


def nspawn(scene: Scene, scratch: str, words: Sequence[str], network: bool) -> list[str]:
    names = scene.names
    options = (
        f"--quiet --register=no --keep-unit -D {_root(scene, scratch)} --read-only"
        f"{'' if network else ' --private-network'} --pipe"
        f" --link-journal=no -M {_name(words)} --private-users={FIRST_ID}:{RANGE}"
        " --private-users-ownership=off --tmpfs=/tmp --drop-capability=all --no-new-privileges=yes"
    )
    binds = [f"--bind-ro={names[each]}" for each in ("data", "probe")]
    return [_which("systemd-nspawn"), *options.split(), *binds, f"--bind={names['work']}", *words]


_SERVICE: Final = """\
NoNewPrivileges=yes ProtectSystem=strict ProtectHome=yes PrivateTmp=yes PrivateDevices=yes MountAPIVFS=yes
PrivateUsers=yes PrivateIPC=yes ProtectKernelTunables=yes ProtectKernelModules=yes ProtectKernelLogs=yes
ProtectControlGroups=yes ProtectClock=yes ProtectHostname=yes ProtectProc=invisible ProcSubset=pid RestrictNamespaces=yes
RestrictSUIDSGID=yes RestrictRealtime=yes LockPersonality=yes MemoryDenyWriteExecute=yes SystemCallArchitectures=native
SystemCallFilter=@system-service SystemCallFilter=~@privileged SystemCallFilter=~@resources SystemCallErrorNumber=EPERM
CapabilityBoundingSet= AmbientCapabilities= KeyringMode=private DevicePolicy=closed UMask=0077 RemoveIPC=yes
DynamicUser=yes IPAddressDeny=any"""


def systemd_run(scene: Scene, scratch: str, words: Sequence[str], network: bool) -> list[str]:
    names = scene.names
    properties = [f"--property={each}" for each in _SERVICE.split()]
    properties.append(f"--property=PrivateNetwork={'no' if network else 'yes'}")
    properties.append(f"--property=RootDirectory={_root(scene, scratch)}")
    properties.append("--property=RestrictAddressFamilies=AF_UNIX AF_INET AF_INET6")
    properties.append(f"--property=BindReadOnlyPaths={names['data']} {names['probe']}")
    properties.append(f"--property=BindPaths={names['work']}")
    line = [_which("systemd-run"), "--quiet", "--wait", "--pipe", "--collect"]
    return [*line, *properties, "--", *words]


# --- Roots and bundles ----------------------------------------------------------------------------


def _name(words: Sequence[str]) -> str:
    """Of a container: two of them live at once."""
    return f"sbx-isolation-{'peer' if 'stay' in words else 'attempts'}"


def _root(scene: Scene, scratch: str) -> str:
    """A root with what is to be mounted on."""
    root = engine_root(scratch)
    for name in ("data", "work"):
        os.makedirs(root + scene.names[name], exist_ok=True)
    probe = root + scene.names["probe"]
    os.makedirs(os.path.dirname(probe), exist_ok=True)
    lines = {
        "passwd": "root:x:0:0::/:/bin/sh\nuser:x:1000:1000::/:/bin/sh\n",
        "group": "root:x:0:\n",
    }
    for path, text in {probe: "", **{f"{root}/etc/{name}": lines[name] for name in lines}}.items():
        with open(path, "w", encoding="utf-8") as file:
            file.write(text)
    return root


_KINDS: Final = ("user", "pid", "mount", "network", "ipc", "uts", "cgroup")


def _config(scene: Scene, root: str, words: Sequence[str], network: bool) -> dict[str, Any]:
    """What `crun spec` writes, with a payload of no rights and the scene's files."""
    names = scene.names
    ids = [{"containerID": 0, "hostID": FIRST_ID, "size": RANGE}]
    masked = "acpi asound kcore keys latency_stats timer_list timer_stats sched_debug scsi"
    sealed = "bus fs irq sys sysrq-trigger"
    return {
        "ociVersion": "1.0.2",
        "process": {
            "terminal": False,
            "user": {"uid": 1000, "gid": 1000},
            "args": list(words),
            "env": ["PATH=/usr/bin:/bin"],
            "cwd": "/",
            "noNewPrivileges": True,
            "capabilities": {"bounding": [], "effective": [], "permitted": []},
            "rlimits": [{"type": "RLIMIT_NOFILE", "hard": 1024, "soft": 1024}],
        },
        "root": {"path": root, "readonly": True},
        "hostname": "sandbox",
        "mounts": [
            _mount("/proc", "proc", ""),
            _mount("/dev", "tmpfs", "nosuid,strictatime,mode=755,size=65536k"),
            _mount("/dev/pts", "devpts", "nosuid,noexec,newinstance,ptmxmode=0666,mode=0620"),
            _mount("/dev/shm", "tmpfs", "nosuid,noexec,nodev,mode=1777,size=65536k"),
            _mount("/dev/mqueue", "mqueue", "nosuid,noexec,nodev"),
            _mount("/tmp", "tmpfs", "nosuid,nodev,mode=1777"),
            _bind(names["data"], "ro"),
            _bind(names["work"], "rw"),
            _bind(names["probe"], "ro"),
        ],
        "linux": {
            "uidMappings": ids,
            "gidMappings": ids,
            "namespaces": [{"type": kind} for kind in _KINDS if kind != "network" or not network],
            "maskedPaths": [*(f"/proc/{each}" for each in masked.split()), "/sys/firmware"],
            "readonlyPaths": [f"/proc/{each}" for each in sealed.split()],
        },
    }


def _mount(target: str, kind: str, options: str) -> dict[str, Any]:
    return {
        "destination": target,
        "type": kind,
        "source": kind,
        "options": [each for each in options.split(",") if each],
    }


def _bind(path: str, access: str) -> dict[str, Any]:
    options = ["bind", "nosuid", "nodev", access]
    return {"destination": path, "type": "bind", "source": path, "options": options}


def _pairs(words: Sequence[str]) -> list[tuple[str, str]]:
    return list(zip(words[::2], words[1::2], strict=True))


def _which(name: str) -> str:
    return shutil.which(name) or name
