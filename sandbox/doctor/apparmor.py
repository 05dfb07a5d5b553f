"""The profile by which AppArmor lets sbx make user namespaces, where it restricts them (apparmor.d(5)).

Ubuntu does so since 23.10 (kernel.apparmor_restrict_unprivileged_userns): a program without a profile of its own
gets no capability in a user namespace that it makes.
"""

import os
import shlex
from typing import Final

PATH: Final = "/etc/apparmor.d/sbx"


def profile_text(launcher: str) -> str:
    """The profile for an sbx whose native program is at `launcher`, an absolute path.

    It has the form of those that Ubuntu ships for bwrap, Chromium and their like: unconfined but
    for the name, and with `userns`. Whatever sbx starts stays under it, its Python and the payload
    too; what a payload may not do is the matter of its sandbox.
    """
    # AppArmor sees where a file is, not by which link it was reached.
    real = os.path.realpath(launcher)
    directory, name = os.path.split(real)
    names = {name, f"{name}-python"}
    path = _escaped(f"{directory}/") + "{" + ",".join(map(_escaped, sorted(names))) + "}"
    return f"""# Lets sbx make user namespaces; it confines nothing by itself.
# `sbx doctor --apparmor-profile` wrote this for the sbx in {_comment(directory)}.

abi <abi/4.0>,
include <tunables/global>

profile sbx "{path}" flags=(unconfined) {{
  userns,

  # Additions of this site.
  include if exists <local/sbx>
}}
"""


def commands(launcher: str, sudo: str) -> tuple[str, ...]:
    """What to type so that the profile is there and in force, now and after each boot."""
    return (
        f"{shlex.quote(launcher)} doctor --apparmor-profile | {sudo}tee {PATH}",
        f"{sudo}apparmor_parser -r {PATH}",
    )


def current() -> str:
    """The label that this process runs under; empty without AppArmor."""
    for path in ("/proc/self/attr/apparmor/current", "/proc/self/attr/current"):
        try:
            with open(path, encoding="utf-8", errors="replace") as file:
                return file.read().strip("\0\n ")
        except OSError:
            continue
    return ""


def _escaped(path: str) -> str:
    """A path as AppArmor's globs write it literally, for a place between quotes."""
    # A backslash is read twice: as a string's, and as a glob's.
    signs = {"\\": r"\\\\", **{sign: f"\\{sign}" for sign in '*?[]{}^,"'}}
    return "".join(signs.get(character, character) for character in path)


def _comment(text: str) -> str:
    return "".join(c if c.isprintable() else "?" for c in text)
