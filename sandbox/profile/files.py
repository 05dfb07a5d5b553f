"""Tables of a profile that say what files there are: root, rules, mounts, devices."""

from typing import Annotated, Literal, TypeAlias

from msgspec import Meta

from sandbox.profile.values import Mode, Path, Size, Table

Generated: TypeAlias = Literal[
    "passwd", "group", "hosts", "hostname", "resolv.conf", "machine-id", "nsswitch.conf"
]
Scope: TypeAlias = Literal["signal", "abstract-unix-socket"]


class Rootfs(Table, frozen=True, kw_only=True):
    """[rootfs]: the tree that the payload's root is assembled from."""

    type: Annotated[
        Literal["host", "directory"],
        Meta(description="Where paths come from: the host's own root, or a directory tree."),
    ] = "host"
    path: Annotated[Path | None, Meta(description="The tree, for the type 'directory'.")] = None
    size: Annotated[Size, Meta(description="Size of the tmpfs that the root is assembled on.")] = (
        "16M"
    )
    overlay: Annotated[
        str,
        Meta(
            description="Writable layer over the root: none, one in memory, or a directory that "
            "keeps what is written.",
            examples=["none", "tmpfs", "/var/lib/app/layer"],
            extra={"kind": "overlay"},
        ),
    ] = "none"
    overlay_size: Annotated[Size, Meta(description="Size of the overlay 'tmpfs'.")] = "64M"
    generate: Annotated[
        tuple[Generated, ...],
        Meta(description="Files in /etc that sbx writes for the sandbox instead of the host's."),
    ] = ()


class Tmpfs(Table, frozen=True, kw_only=True):
    """One entry of filesystem.tmpfs."""

    path: Annotated[Path, Meta(description="Where it is mounted.")]
    size: Annotated[Size, Meta(description="How much it can hold.")] = "64M"
    mode: Annotated[Mode, Meta(description="Permission bits of its top directory.")] = "1777"
    execute: Annotated[bool, Meta(description="Its files may be executed.")] = False


class Filesystem(Table, frozen=True, kw_only=True):
    """[filesystem]: what the payload may do with which paths.

    The most specific path wins; between equals deny wins; order never matters. Enforced by the
    mount tree and by Landlock.
    """

    read: Annotated[tuple[Path, ...], Meta(description="May be read.")] = ()
    write: Annotated[tuple[Path, ...], Meta(description="May be read, changed and created.")] = ()
    execute: Annotated[tuple[Path, ...], Meta(description="May be read and executed.")] = ()
    deny: Annotated[
        tuple[Path, ...],
        Meta(
            description="Refused, though a path above is allowed: the name stays, opening it fails."
        ),
    ] = ()
    mask: Annotated[
        tuple[Path, ...], Meta(description="There but empty: an empty file or directory instead.")
    ] = ()
    protect: Annotated[
        tuple[Path, ...],
        Meta(
            description="Read-only where it is there, though a path above is writable; neither it "
            "nor a directory that leads to it can be renamed or removed."
        ),
    ] = ()
    tmpfs: Annotated[
        tuple[Path | Tmpfs, ...],
        Meta(
            description="Fresh writable directories in memory: a path, or {path, size, mode, execute}."
        ),
    ] = ()
    proc: Annotated[
        Literal["read-only", "writable", "unmasked", "pid", "none"],
        Meta(
            description="/proc: read-only with its dangerous parts masked, writable where the "
            "kernel lets the payload, the same without masks (which a sandbox inside this one "
            "needs), only the process directories, or none."
        ),
    ] = "read-only"

    def tmpfs_entries(self) -> tuple[Tmpfs, ...]:
        """`tmpfs` with every bare path as an entry of default size and mode."""
        return tuple(Tmpfs(path=item) if isinstance(item, str) else item for item in self.tmpfs)


class Mount(Table, frozen=True, kw_only=True):
    """One [[mounts]]: something mounted at a path of its own."""

    type: Annotated[
        Literal["bind", "tmpfs", "overlay", "file"],
        Meta(
            description="A path of the host, memory, layers of directories, or a file whose "
            "content the profile holds."
        ),
    ]
    target: Annotated[Path, Meta(description="Where it appears inside. One mount for each target.")]
    source: Annotated[Path | None, Meta(description="The host's path, for 'bind'.")] = None
    writable: Annotated[bool, Meta(description="May be written to; a 'tmpfs' always may.")] = False
    execute: Annotated[bool, Meta(description="Its files may be executed.")] = False
    recursive: Annotated[
        bool, Meta(description="'bind' takes along what is mounted below the source.")
    ] = True
    idmap: Annotated[
        bool,
        Meta(description="Files of the caller's id appear as the payload's (id-mapped mount)."),
    ] = False
    optional: Annotated[bool, Meta(description="Left out if the source doesn't exist.")] = False
    size: Annotated[
        Size | None,
        Meta(
            description="How much a 'tmpfs', or an 'overlay' without 'upper', can hold; 64M if left out."
        ),
    ] = None
    mode: Annotated[
        Mode | None, Meta(description="Permission bits of the top directory of a 'tmpfs'.")
    ] = None
    content: Annotated[
        str | None,
        Meta(
            description="What a 'file' holds, with variables replaced; read-only.",
            examples=["port = ${port}\n"],
        ),
    ] = None
    lower: Annotated[
        tuple[Path, ...], Meta(description="Read-only layers of an 'overlay', the topmost first.")
    ] = ()
    upper: Annotated[
        Path | None,
        Meta(description="Directory that takes an overlay's changes; memory if left out."),
    ] = None


class Landlock(Table, frozen=True, kw_only=True):
    """[landlock]: the second layer below [filesystem]."""

    enabled: Annotated[bool, Meta(description="Enforce the file rules by Landlock too.")] = True
    files: Annotated[
        bool,
        Meta(
            description="False leaves the scopes alone: under Landlock's file rules nothing can be "
            "mounted, and a sandbox inside this one has to."
        ),
    ] = True
    minimum_abi: Annotated[
        int, Meta(ge=1, le=64, description="Landlock version that the host must have at least.")
    ] = 1
    scopes: Annotated[
        tuple[Scope, ...],
        Meta(description="What stays inside: signals, connections to abstract Unix sockets."),
    ] = ("signal", "abstract-unix-socket")


class Devices(Table, frozen=True, kw_only=True):
    """[devices]: /dev."""

    dev: Annotated[
        Literal["private", "none"],
        Meta(description="/dev with the usual harmless nodes and its own pty's, or none."),
    ] = "private"
    allow: Annotated[
        tuple[Path, ...],
        Meta(description="Device nodes of the host that appear too.", examples=[["/dev/kvm"]]),
    ] = ()
    shm_size: Annotated[Size, Meta(description="Size of /dev/shm.")] = "64M"
