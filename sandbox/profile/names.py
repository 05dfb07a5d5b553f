"""What a profile is called: a shipped one by its name, any other by its path."""

import os

from sandbox._paths import profiles_dir


def is_path(name: str) -> bool:
    """Whether `name` means a file of the user's and not a shipped profile."""
    return "/" in name or name.endswith(".toml")


def shipped_path(name: str) -> str:
    """Where the shipped profile of that name would lie."""
    return os.path.join(profiles_dir(), f"{name}.toml")


def shipped_names() -> tuple[str, ...]:
    """The profiles that come with sbx, in order of name."""
    return tuple(
        sorted(
            entry.removesuffix(".toml")
            for entry in os.listdir(profiles_dir())
            if entry.endswith(".toml")
        )
    )


def join(directory: str, name: str) -> str:
    """The path of `name` seen from `directory`.

    `..` is only taken out by the kernel: `link/../x` isn't `x` when `link` is a symbolic link.
    """
    joined = os.path.join(directory, name)
    return joined if ".." in joined.split("/") else os.path.normpath(joined)


def suggestion(wrong: str, known: tuple[str, ...] | list[str]) -> str:
    """`did you mean 'x'?`, or nothing where nothing is close."""
    import difflib

    close = difflib.get_close_matches(wrong[:64], known, 1, 0.6)
    return f"did you mean '{close[0]}'?" if close else ""
