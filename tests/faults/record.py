"""What is kept of a sweep, as JSON, and shown of it, as a table."""

import json
import os
import platform
import subprocess
import sys
import time
from typing import Any

from tests.faults.judge import BROKEN, KILLED, REFUSED, STOPPED, WHOLE
from tests.faults.sweep import Found

COLUMNS = (REFUSED, WHOLE, STOPPED, KILLED, BROKEN)


def table(name: str, found: Found, seconds: float) -> str:
    """A line for each process, and what broke."""
    heads = ("calls", "faults", "not met", *COLUMNS)
    lines = [f"{name:<20}" + "".join(f"{head:>10}" for head in heads)]
    for role, tally in found.tallies.items():
        if tally.calls == 0:
            continue
        row = (tally.calls, tally.faults, tally.not_met, *map(tally.of, COLUMNS))
        lines.append(f"  {role:<18}" + "".join(f"{number:>10}" for number in row))
    lines += [f"  {seconds:.0f} s", *(f"  BROKEN {line}" for line in found.broken)]
    return "\n".join(lines)


def keep(path: str, name: str, found: Found, seconds: float) -> None:
    """Puts what was found into the file, beside what it has of other kinds of launches."""
    content: dict[str, Any] = {"launches": {}}
    if os.path.exists(path):
        with open(path, encoding="utf-8") as file:
            content = json.load(file)
    content["launches"][name] = _launch(found, seconds)
    launches = content["launches"].values()
    broken = sum(len(launch["broken"]) for launch in launches)
    content["faults"] = sum(launch["faults"] for launch in launches)
    content["figures"] = [
        {
            "name": f"faults at every system call of a launch, {content['faults']}: what broke",
            "value": broken,
            "reach": 0,
            "at_least": False,
            "unit": "",
            "reached": broken == 0,
        }
    ]
    with open(f"{path}.new", "w", encoding="utf-8") as file:
        json.dump(content, file, indent=2)
        file.write("\n")
    os.replace(f"{path}.new", path)


def _launch(found: Found, seconds: float) -> dict[str, Any]:
    launcher = os.path.join(os.path.dirname(sys.executable), "sbx")
    version = subprocess.run([launcher, "--version"], capture_output=True, text=True, check=True)
    processes = {
        role: {
            "calls": tally.calls,
            "faults": tally.faults,
            "not met": tally.not_met,
            "verdicts": tally.kinds,
        }
        for role, tally in found.tallies.items()
        if tally.calls
    }
    return {
        "sbx": version.stdout.strip(),
        "kernel": platform.release(),
        "time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "seconds": round(seconds),
        "faults": sum(tally.faults for tally in found.tallies.values()),
        "broken": found.broken,
        "processes": processes,
        "messages": dict(sorted(found.messages.items())),
    }
