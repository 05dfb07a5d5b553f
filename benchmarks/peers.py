"""How each peer is asked for the same sandbox: the host read-only, private /dev, /proc and /tmp, no network.

What a peer cannot give, or gives on top, is in its note; `observe` in startup.py shows what the
payload really gets.
"""

import json
import os
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

from benchmarks.building import build
from benchmarks.common import PROFILE
from benchmarks.places import PLAIN, Place
from sandbox.plan import seccomp
from sandbox.profile.load import load

Payload = Sequence[str]

EQUAL_FLOOR: Final = "floor, with filter, capabilities and init"
RANGE: Final = 65536
FIRST_ID: Final = 100000


@dataclass(frozen=True, slots=True, kw_only=True)
class Peer:
    name: str
    command: Callable[[Payload], list[str]]
    place: Place = PLAIN
    note: str = ""


def peers(sbx: str | None, scratch: str) -> list[Peer]:
    """All that are to be compared; whether one works here is seen by running it."""
    found = [Peer(name="nothing", command=list, note="the command itself")]
    found.append(Peer(name="floor", command=_floor, note="benchmarks/floor.c"))
    found.append(
        Peer(
            name="floor, pivoting",
            command=lambda payload: [build("floor"), "-p", *payload],
            note="the same by a clone of the tree and pivot_root",
        )
    )
    found.append(
        Peer(
            name=EQUAL_FLOOR,
            command=lambda payload: [build("floor"), "-x", _filter(scratch), *payload],
            note="the same with sbx's filter, empty capabilities and a reaping init; no Landlock",
        )
    )
    if sbx:
        found.append(
            Peer(
                name="sbx",
                command=lambda payload: [sbx, "run", "--profile", PROFILE, "--", *payload],
                note="with its filter, Landlock, empty capabilities and a reaping init",
            )
        )
    return [*found, *_light(), *_engines(scratch)]


def _filter(scratch: str) -> str:
    """The benchmark profile's filter as a file."""
    path = os.path.join(scratch, "filter.bpf")
    if not os.path.exists(path):
        policy = seccomp.policy_from_profile(load(PROFILE, cwd="/", environ={}).profile.seccomp)
        with open(path, "wb") as file:
            file.write(seccomp.compile_filter(policy, os.uname().machine))
    return path


def _floor(payload: Payload) -> list[str]:
    return [build("floor"), *payload]


def bubblewrap(payload: Payload, *binds: str) -> list[str]:
    options = _words(
        "--unshare-all --ro-bind / / --dev /dev --proc /proc --tmpfs /tmp --new-session"
    )
    return [_which("bwrap"), *options, "--die-with-parent", *binds, "--", *payload]


def _light() -> list[Peer]:
    """Programs that set a sandbox up by themselves."""
    return [
        Peer(name="bubblewrap", command=bubblewrap, note="no filter; no time namespace"),
        Peer(
            name="minijail0",
            command=lambda payload: [
                _which("minijail0"),
                *_words("-U -v -p -l -e -N --uts -r -n -t -P / -d --"),
                *payload,
            ],
        ),
        Peer(
            name="nsjail",
            command=lambda payload: [
                _which("nsjail"),
                *_words("-Mo -Q --disable_rlimits -R / -m none:/dev:tmpfs:mode=755"),
                *_words("-m none:/tmp:tmpfs:mode=1777 --"),
                *payload,
            ],
        ),
        Peer(
            name="firejail",
            command=lambda payload: [
                _which("firejail"),
                *_words("--noprofile --quiet --net=none --private-dev --private-tmp"),
                *_words("--read-only=/ --caps.drop=all --ipc-namespace --"),
                *payload,
            ],
            # It leaves mounts below /run behind.
            place=Place(name="firejail", setup="mount -t tmpfs tmpfs /run"),
            note="setuid; as root no user namespace",
        ),
        Peer(
            name="systemd-run",
            command=lambda payload: [
                _which("systemd-run"),
                *_words("--quiet --wait --pipe -p ProtectSystem=strict -p PrivateDevices=yes"),
                *_words("-p PrivateTmp=yes -p PrivateNetwork=yes -p PrivateIPC=yes"),
                *_words("-p NoNewPrivileges=yes --"),
                *payload,
            ],
            note="a service of the system's manager",
        ),
    ]


def engine_root(scratch: str) -> str:
    """A root for container engines, with the host's links into /usr, which their place fills."""
    root = os.path.join(scratch, "root")
    os.makedirs(os.path.join(root, "usr"), exist_ok=True)
    for name in ("proc", "dev", "sys", "tmp", "etc", "run", "mnt", "var/tmp"):
        os.makedirs(os.path.join(root, name), exist_ok=True)
    for name in ("hosts", "hostname", "resolv.conf"):
        with open(os.path.join(root, "etc", name), "a", encoding="utf-8"):
            pass  # podman mounts its own over them
    for name in ("bin", "lib", "lib64", "sbin"):
        if os.path.islink(f"/{name}") and not os.path.lexists(os.path.join(root, name)):
            os.symlink(os.readlink(f"/{name}"), os.path.join(root, name))
    return root


def engine_place(scratch: str) -> Place:
    """Where container engines run: with that root, and cgroup v2, which crun insists on."""
    root = engine_root(scratch)
    return Place(
        name="engines",
        setup=f"mount --bind /usr {root}/usr\n"
        "umount -l /sys/fs/cgroup && mount -t cgroup2 none /sys/fs/cgroup\n"
        "mount -t tmpfs tmpfs /run\n"
        "mount -t tmpfs tmpfs /dev/shm\n"  # podman keeps its locks there
        "[ ! -d /var/lib/containers ] || mount -t tmpfs tmpfs /var/lib/containers",
    )


def _engines(scratch: str) -> list[Peer]:
    root, place = engine_root(scratch), engine_place(scratch)
    note = "the root holds /usr only; no cgroup"
    return [
        Peer(
            name="systemd-nspawn",
            command=lambda payload: [
                _which("systemd-nspawn"),
                *_words(f"--quiet --register=no --keep-unit -D {root} --read-only"),
                *_words("--private-network --pipe --link-journal=no -M sbx-benchmark"),
                f"--private-users={FIRST_ID}:{RANGE}",
                *_words("--private-users-ownership=off --tmpfs=/tmp --"),
                *payload,
            ],
            place=place,
            note="the root holds /usr only; with its own filter",
        ),
        Peer(
            name="crun",
            command=lambda payload: [
                _which("crun"),
                "--cgroup-manager=disabled",
                *_words(f"run -b {crun_bundle(scratch, payload)} sbx-benchmark-crun"),
            ],
            place=place,
            note=note,
        ),
        Peer(
            name="runc",
            command=lambda payload: [
                _which("runc"),
                *_words(f"run -b {crun_bundle(scratch, payload)} sbx-benchmark-runc"),
            ],
            place=place,
            note="the root holds /usr only; with a cgroup: it has no way without",
        ),
        Peer(
            name="podman",
            command=lambda payload: [_which("podman"), *podman_words(root, "--rm"), *payload],
            place=place,
            note=note,
        ),
    ]


def podman_words(root: str, *more: str) -> list[str]:
    """What podman is told before a payload, to run it in a directory as its root."""
    return [
        *_words("--runtime crun --cgroup-manager=cgroupfs run --network=none"),
        *_words("--read-only --cgroups=disabled --cap-drop=all"),
        *_words("--security-opt seccomp=unconfined --security-opt no-new-privileges"),
        *_words("--ulimit nofile=1024:1024 --ulimit nproc=1000:1000"),
        f"--uidmap=0:{FIRST_ID}:{RANGE}",
        *more,
        *("--rootfs", root),
    ]


def crun_bundle(scratch: str, payload: Payload, *programs: str) -> str:
    """A directory with an OCI config.json for this payload; our own programs appear below /mnt."""
    root = engine_root(scratch)
    config = _config(root, payload)
    for program in programs:
        inside = f"/mnt/{os.path.basename(program)}"
        with open(root + inside, "a", encoding="utf-8"):
            pass  # what it is mounted on
        config["mounts"].append({**_mount(inside, "bind", "bind,ro"), "source": program})
    path = os.path.join(scratch, f"bundle-{abs(hash(tuple(payload)))}")
    os.makedirs(path, exist_ok=True)
    with open(os.path.join(path, "config.json"), "w", encoding="utf-8") as file:
        json.dump(config, file)
    return path


def _config(root: str, payload: Payload) -> dict[str, Any]:
    ids = [{"containerID": 0, "hostID": FIRST_ID, "size": RANGE}]
    kinds = ("user", "pid", "mount", "network", "ipc", "uts", "cgroup")
    return {
        "ociVersion": "1.0.2",
        "process": {
            "terminal": False,
            "user": {"uid": 1000, "gid": 1000},
            "args": list(payload),
            "env": ["PATH=/usr/bin:/bin"],
            "cwd": "/",
            "noNewPrivileges": True,
            "capabilities": {"bounding": [], "effective": [], "permitted": []},
        },
        "root": {"path": root, "readonly": True},
        "hostname": "sandbox",
        "mounts": [
            _mount("/proc", "proc", "nosuid,nodev,noexec,ro"),
            _mount("/dev", "tmpfs", "nosuid,noexec,mode=755"),
            _mount("/dev/pts", "devpts", "nosuid,noexec,newinstance,ptmxmode=0666,mode=0620"),
            _mount("/dev/shm", "tmpfs", "nosuid,nodev,noexec,mode=1777"),
            _mount("/tmp", "tmpfs", "nosuid,nodev,mode=1777"),
        ],
        "linux": {
            "uidMappings": ids,
            "gidMappings": ids,
            "namespaces": [{"type": kind} for kind in kinds],
        },
    }


def _mount(target: str, kind: str, options: str) -> dict[str, Any]:
    return {"destination": target, "type": kind, "source": kind, "options": options.split(",")}


def _words(text: str) -> list[str]:
    return text.split()


def _which(name: str) -> str:
    return shutil.which(name) or name
