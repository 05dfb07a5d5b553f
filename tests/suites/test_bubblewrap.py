"""bubblewrap's own test script with sbx in its place, by way of the shim bwrap.py.

The baseline is bubblewrap itself, built from the same source. Each point that it passes has to be
passed by sbx too, or to stand below with the reason why not.
"""

import glob
import os
import shlex
import shutil
import sys
import tempfile
from collections.abc import Iterator
from typing import Final, NamedTuple

import pytest

from tests.conftest import TREE, UNPRIVILEGED
from tests.kernel.harness import NOT_ROOT
from tests.suites.bubblewrap_script import Points, build_bubblewrap, run_points
from tests.suites.places import suite

NOTHING_MADE = "sbx makes no file or directory on the host, also not as a mount point"
NO_LINKS = "no key makes a symbolic link; those of the host's root are there by themselves"
OWN_WORDS = "sbx has messages of its own, with file and line"
NO_STATUS = "no descriptor tells the state; sbx run --report, sbx inspect --json and sbx events do"
LAYERS = "an overlay's upper and work are two directories of one that is named"
REASONS: Final = {
    "--level-prefix": OWN_WORDS,
    "--overlay": LAYERS,
    "--overlay path escaping": LAYERS,
    "--ro-overlay": "an overlay is writable, or a bind of its only layer",
    "--symlink doesn't overwrite a conflicting symlink": NO_LINKS,
    "--symlink is idempotent": NO_LINKS,
    "--symlink works": NO_LINKS,
    "Directories created as parents have expected permissions": NOTHING_MADE,
    "Directories created explicitly have expected permissions": NOTHING_MADE,
    "Files and directories created as mount points have expected permissions": NOTHING_MADE,
    "all expected devices were created": "/dev has no link core to the kernel's memory",
    "argv0 manipulation": "the command's first word is its name; no key for another",
    "can bind a destination over a symlink": NO_LINKS,
    "can disable nested userns": "the filter refuses user namespaces; no key makes the kernel's limit 0",
    "can mount /proc recursively": "it starts /proc/self/exe, which in bubblewrap is bubblewrap",
    "can pivot to new rootfs recursively": "it starts /proc/self/exe, which in bubblewrap is bubblewrap",
    "die with parent --die-with-parent": "no --lock-file; and the sandbox ends with sbx, not with who started sbx",
    "die with parent --die-with-parent --unshare-pid": "as the one before",
    "error prefixing": OWN_WORDS,
    "exec failure doesn't include exit-code in json-status": NO_STATUS,
    "files have expected permissions": "a file of the profile's content is read-only and has one mode",
    "info and json-status fd": NO_STATUS,
    "namespace id info in info and json-status fd": NO_STATUS,
    "pre-exec failure doesn't include exit-code in json-status": NO_STATUS,
    "warning logged for redundant --chdir": "a profile can't say it twice",
}
"""Points that sbx doesn't pass, or passes without meaning (what the shim refuses prints no status)."""


class Scene(NamedTuple):
    """bubblewrap and sbx, run by the same script as the same user."""

    theirs: Points
    ours: Points


@pytest.fixture(scope="module")
def scene(sbx_path: str) -> Iterator[Scene]:
    source = suite("bubblewrap")
    if os.geteuid() != 0:
        pytest.skip(NOT_ROOT)
    place = tempfile.mkdtemp(prefix="sbx-bubblewrap-", dir="/var/tmp")
    os.chmod(place, 0o755)
    try:
        yield Scene(
            _run(place, source, "theirs", build_bubblewrap(source, place)),
            _run(place, source, "ours", _shim(place), SBX=sbx_path),
        )
    finally:
        shutil.rmtree(place)
        # The script leaves one behind each time.
        for path in glob.glob("/tmp/bwrap-test-????????"):
            if os.lstat(path).st_uid == UNPRIVILEGED:
                os.unlink(path)


def _shim(place: str) -> str:
    path = os.path.join(place, "shim")
    shim = os.path.join(TREE, "tests", "suites", "bwrap.py")
    with open(path, "w", encoding="utf-8") as file:
        file.write(f'#!/bin/sh\nexec {shlex.join([sys.executable, shim])} "$@"\n')
    os.chmod(path, 0o755)
    return path


def _run(place: str, source: str, name: str, bwrap: str, **more: str) -> Points:
    scripts, home = os.path.join(place, name), os.path.join(place, f"{name}-home")
    os.mkdir(scripts)
    os.mkdir(home)
    os.chown(home, UNPRIVILEGED, UNPRIVILEGED)
    environment = {
        "PATH": "/usr/bin:/bin",
        "HOME": home,
        "XDG_RUNTIME_DIR": home,
        "SBX_SHIM_DIR": home,
        **more,
    }
    account = {"user": UNPRIVILEGED, "group": UNPRIVILEGED, "extra_groups": ()}
    return run_points(source, scripts, bwrap, env=environment, **account)


def test_bubblewrap_itself_passes_its_points(scene: Scene) -> None:
    """The control: the script works on this machine, and all that is named here is in it."""
    assert len(scene.theirs.passed) > 40, scene.theirs.output
    assert set(REASONS) - scene.theirs.passed <= {
        name for name in REASONS if "overlay" in name or "pre-exec" in name
    }


def test_sbx_passes_every_point_without_a_reason(scene: Scene) -> None:
    lacking = scene.theirs.passed - scene.ours.passed - set(REASONS)
    assert not lacking, scene.ours.output


def test_no_reason_is_out_of_date(scene: Scene) -> None:
    """What passes now is struck from the list; two points pass because nothing is printed."""
    empty = {name for name, why in REASONS.items() if why == NO_STATUS and "doesn't" in name}
    assert not scene.ours.passed & set(REASONS) - empty, scene.ours.output
