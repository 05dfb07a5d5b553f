"""sbx with the address, undefined-behaviour and leak sanitizers, and the tests that run it.

`python -m tests.kernel.sanitized [pytest's words]` runs tests with it; without words those of launches,
exec, live sandboxes and services. Status 1 where a test fails or a sanitizer has said a word.
"""

import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from sandbox import __version__

TREE = Path(__file__).parents[2]
# Reports are files beside the program. What a sandbox's own processes would say can't be written there: they end with 1.
OPTIONS = """
const char *__asan_default_options(void);
const char *__asan_default_options(void) { return "detect_leaks=1:log_path=%(reports)s/asan"; }
const char *__ubsan_default_options(void);
const char *__ubsan_default_options(void) { return "log_path=%(reports)s/ubsan"; }
/* In place of the runtime's, which warns where a process ends on another stack than its own, as the payload's does. It
 * is for those who unwind, and nobody here does. */
void __asan_handle_no_return(void);
void __asan_handle_no_return(void) {}
"""
# One caller is enough for memory.
CALLER = "root" if os.geteuid() == 0 else "user"
COMPANION = """import sys
from sandbox.cli import main
sys.exit(main())
"""
PARTS = ("service", "test_exec.py", "test_exit.py", "test_lifecycle.py", "test_verbs.py")
USUAL = [f"tests/kernel/{part}" for part in PARTS]
# The runtime maps more memory than a test can read, and makes a launch too slow for the times of others.
WITHOUT = (
    "test_neither_plan_nor_record_nor_supervisor_holds_it",
    "test_the_time_that_it_may_live_goes_on",
    "test_a_warm_launch_does_the_same",
)


# As pip writes it where the interpreter's path has blanks, which the kernel would end it at.
HEAD = "#!/bin/sh\n'''exec' \"%s\" \"$0\" \"$@\"\n' '''\n"


class Launcher:
    """sbx with sanitizers in a new directory, which other users may enter. Its plans say it is this one."""

    def __init__(self, directory: Path) -> None:
        self.path = directory / "sbx"
        self._reports = directory / "reports"
        self._reports.mkdir()
        directory.chmod(0o755)
        self._reports.chmod(0o1777)
        options, companion = directory / "options.c", directory / "sbx-python"
        options.write_text(OPTIONS % {"reports": self._reports}, encoding="ascii")
        companion.write_text(f"{HEAD % sys.executable}{COMPANION}", encoding="utf-8")
        companion.chmod(0o755)
        subprocess.run(
            [
                *("cc", "-std=gnu17", "-O1", "-g", "-D_GNU_SOURCE"),
                *(f'-DSBX_VERSION="{__version__}"', f"-I{TREE}/csrc"),
                *("-fsanitize=address,undefined", "-fno-sanitize-recover=all", str(options)),
                *("-o", str(self.path), *map(str, sorted((TREE / "csrc").glob("*.c")))),
            ],
            check=True,
        )

    def said(self) -> str:
        """What the sanitizers have reported so far."""
        return "".join(file.read_text(errors="replace") for file in self._reports.iterdir())

    def test(self, words: Sequence[str], chosen: str) -> int:
        """The status of pytest with this launcher; `chosen` are tests' names as its -k has them."""
        return subprocess.run(
            [
                *(sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"),
                *("-k", f"({chosen}) and not ({' or '.join(WITHOUT)})", *words),
            ],
            cwd=TREE,
            env={**os.environ, "SBX_TEST_LAUNCHER": str(self.path)},
            check=False,
        ).returncode


def main() -> int:
    """Build it, and test what was asked for."""
    with tempfile.TemporaryDirectory(prefix="sbx-sanitized-") as directory:
        launcher = Launcher(Path(directory))
        status = launcher.test(sys.argv[1:] or USUAL, CALLER)
        said = launcher.said()
    sys.stdout.write(said)
    return 1 if said else status


if __name__ == "__main__":
    sys.exit(main())
