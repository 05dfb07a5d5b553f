"""From `git clone` to an own service in a sandbox: the tutorial's commands themselves, with a stopwatch.

    python -m benchmarks.first_ten_minutes

Clones the last commit of this tree into a new home, types every command of docs/tutorial.md there as a normal
user, checks what comes out, and writes how many commands there were and how long they took to
results/first_ten_minutes.json. What pip fetches comes from the network, so `install` is the network's figure as
much as sbx's. A person reads and types besides; that isn't in here.
"""

import argparse
import os
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from typing import Any, Final

from benchmarks import common, records
from tests.cli import documents
from tests.cli.documents import Answer, Step

TREE: Final = os.path.dirname(common.HERE)
USER: Final = 61234
SECONDS: Final = 600
PORT: Final = "8321"
RUNNING: Final = "curl "
"""The first command that the sandboxed service has answered."""


def steps(source: str, port: int) -> Iterator[Step]:
    """All of the tutorial's, those that take the network too, with `source` to clone from."""
    text = documents.read("docs/tutorial.md")
    for reason in documents.left_out(text):
        text = text.replace(f"<!-- not run: {reason} -->\n", "")
    for step in documents.steps(text):
        typed = step.text.replace("git clone URL", f"git clone -q {source}")
        quiet = typed.replace("/bin/pip install ", "/bin/pip install -q ")
        yield step._replace(text=quiet.replace(PORT, str(port)))


def environment(home: str) -> dict[str, str]:
    """A new user's, with the settings of pip that this machine needs."""
    kept = {
        name: value
        for name, value in os.environ.items()
        if name.startswith(("PIP_", "SSL_")) or name.lower().endswith("_proxy")
    }
    return {
        **kept,
        "PATH": "/usr/local/bin:/usr/bin:/bin",
        "LANG": "C.UTF-8",
        "HOME": home,
        "PIP_DISABLE_PIP_VERSION_CHECK": "1",
    }


def follow() -> list[tuple[Step, Answer]]:
    """Type everything in a home that is removed again. Raises BenchmarkError where it differs."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port: int = server.getsockname()[1]
    top = tempfile.mkdtemp(prefix="sbx-tutorial-")
    try:
        os.chmod(top, 0o755)
        home = os.path.join(top, "home")
        os.mkdir(home, 0o755)
        source = os.path.join(top, "source.git")
        subprocess.run(["git", "clone", "-q", "--bare", TREE, source], check=True)
        user = USER if os.geteuid() == 0 else None
        if user:
            # git clones from nobody else's repository.
            subprocess.run(["chown", "-R", f"{user}:{user}", home, source], check=True)
        found = documents.follow(
            list(steps(source, port)),
            place=home,
            environment=environment(home),
            user=user,
            timeout=SECONDS,
            stop=True,
        )
    finally:
        shutil.rmtree(top)
    for step, answer in found:
        wrong = documents.differences(step, answer)
        # pip may have something to say.
        if answer.status or (wrong and "/bin/pip" not in step.text):
            raise common.BenchmarkError(f"{step.text}\n{wrong}")
    return found


def record(found: list[tuple[Step, Answer]]) -> dict[str, Any]:
    """What is kept: commands and seconds, in all, for the installation, and until the service answers."""
    reached = next(at for at, (step, _) in enumerate(found) if step.text.startswith(RUNNING))
    installed = next(at for at, (step, _) in enumerate(found) if step.text == "sbx doctor")

    def part(pairs: list[tuple[Step, Answer]]) -> dict[str, float]:
        seconds = sum(answer.seconds for _, answer in pairs)
        return {"commands": len(pairs), "seconds": round(seconds, 1)}

    return {
        "benchmark": "first_ten_minutes",
        "unit": "s",
        "facts": records.facts(None),
        "results": {
            "install": part(found[:installed]),
            "until the sandboxed service has answered": part(found[: reached + 1]),
            "the whole tutorial": part(found),
        },
        "commands": [
            {"command": step.text, "seconds": round(answer.seconds, 2)} for step, answer in found
        ],
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--results", default=common.RESULTS, help="where the JSON goes")
    options = parser.parse_args()
    content = record(follow())
    records.save("first_ten_minutes", content, options.results)
    for name, part in content["results"].items():
        print(f"{name}: {part['commands']} commands, {part['seconds']} s")
    return 0


if __name__ == "__main__":
    sys.exit(main())
