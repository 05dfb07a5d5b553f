"""What a call wants of a path."""

from enum import Enum
from typing import Final

import msgspec

from sandbox.explain.calls import O_CREAT, O_PATH, O_TMPFILE
from sandbox.plan.kernel import Access
from sandbox.plan.nodes import Right


class Use(Enum):
    """What is wanted; the value says it in words."""

    LOOK = "look at"
    READ = "read"
    WRITE = "write to"
    CREATE = "create"
    REMOVE = "remove"
    CHANGE = "change the attributes of"
    EXECUTE = "execute"
    CONNECT = "connect to"
    MOUNT = "mount at"

    @property
    def right(self) -> Right:
        """What a statement has to give for it."""
        if self in {Use.LOOK, Use.READ, Use.CONNECT}:
            return Right.READ
        return Right.EXECUTE if self == Use.EXECUTE else Right.WRITE


class Wish(msgspec.Struct, frozen=True, kw_only=True):
    """What one call wants. `follow`: of a link at the end of the path what it leads to."""

    use: Use
    follow: bool = True
    access: Access = Access(0)
    """What Landlock would have to allow, at the path or, for new names, at its directory."""
    probe: bool = False


_AT_SYMLINK_NOFOLLOW: Final = 0x100
_O_NOFOLLOW: Final = 0o400000
_AT_REMOVEDIR: Final = 0x200
_S_IFMT: Final = 0o170000
_NODES: Final = {
    0o020000: Access.MAKE_CHAR,
    0o060000: Access.MAKE_BLOCK,
    0o010000: Access.MAKE_FIFO,
    0o140000: Access.MAKE_SOCK,
}
_FLAGS_OF: Final = {"newfstatat": 3, "statx": 2, "fchownat": 4, "utimensat": 3, "faccessat2": 3}


def _open(flags: int) -> Wish:
    follow = not flags & _O_NOFOLLOW
    if flags & O_PATH:
        return Wish(use=Use.LOOK, follow=follow, probe=True)
    if flags & O_CREAT or flags & O_TMPFILE == O_TMPFILE:
        return Wish(use=Use.CREATE, follow=follow, access=Access.MAKE_REG | Access.WRITE_FILE)
    if flags & 3:
        return Wish(use=Use.WRITE, follow=follow, access=Access.WRITE_FILE)
    return Wish(use=Use.READ, follow=follow, access=Access.READ_FILE)


def _access(mode: int) -> Wish:
    if mode & 2:
        return Wish(use=Use.WRITE, probe=True)
    if mode & 1:
        return Wish(use=Use.EXECUTE, probe=True)
    return Wish(use=Use.READ if mode & 4 else Use.LOOK, probe=True)


def wish(call: str, arguments: tuple[int, ...], data: bytes, *, second: bool = False) -> Wish:
    """What `call` wants of its first path, or of its `second` one."""
    match call:
        case "open":
            return _open(arguments[1])
        case "openat":
            return _open(arguments[2])
        case "openat2":
            return _open(int.from_bytes(data[:8], "little"))
        case "creat":
            return _open(O_CREAT | 1)
        case "access":
            return _access(arguments[1])
        case "faccessat" | "faccessat2":
            return _access(arguments[2])
        case "stat" | "statfs" | "chdir" | "inotify_add_watch":
            return Wish(use=Use.LOOK, probe=call != "chdir")
        case "lstat":
            return Wish(use=Use.LOOK, follow=False, probe=True)
        case "newfstatat" | "statx":
            follow = not arguments[_FLAGS_OF[call]] & _AT_SYMLINK_NOFOLLOW
            return Wish(use=Use.LOOK, follow=follow, probe=True)
        case "execve" | "execveat" | "mmap":
            return Wish(use=Use.EXECUTE, access=Access.EXECUTE)
        case "unlink":
            return Wish(use=Use.REMOVE, follow=False, access=Access.REMOVE_FILE)
        case "rmdir":
            return Wish(use=Use.REMOVE, follow=False, access=Access.REMOVE_DIR)
        case "unlinkat":
            directory = arguments[2] & _AT_REMOVEDIR
            access = Access.REMOVE_DIR if directory else Access.REMOVE_FILE
            return Wish(use=Use.REMOVE, follow=False, access=access)
        case "rename" | "renameat" | "renameat2":
            access = Access.MAKE_REG if second else Access.REMOVE_FILE
            use = Use.CREATE if second else Use.REMOVE
            return Wish(use=use, follow=False, access=access)
        case "link" | "linkat":
            if not second:
                return Wish(use=Use.LOOK, follow=False)
            return Wish(use=Use.CREATE, follow=False, access=Access.MAKE_REG)
        case "mkdir" | "mkdirat":
            return Wish(use=Use.CREATE, follow=False, access=Access.MAKE_DIR)
        case "symlink" | "symlinkat":
            return Wish(use=Use.CREATE, follow=False, access=Access.MAKE_SYM)
        case "mknod" | "mknodat":
            kind = arguments[1 if call == "mknod" else 2] & _S_IFMT
            access = _NODES.get(kind, Access.MAKE_REG)
            return Wish(use=Use.CREATE, follow=False, access=access)
        case "truncate" | "ftruncate" | "fallocate":
            return Wish(use=Use.WRITE, access=Access.TRUNCATE)
        case "mount" | "umount2" | "move_mount" | "open_tree" | "mount_setattr" | "pivot_root":
            return Wish(use=Use.MOUNT)
        case "lchown" | "lsetxattr" | "lremovexattr":
            return Wish(use=Use.CHANGE, follow=False)
        case "connect" | "sendto":
            return Wish(use=Use.CONNECT)
        case "bind":
            return Wish(use=Use.CREATE, follow=False, access=Access.MAKE_SOCK)
        case _:
            return Wish(use=Use.CHANGE)
