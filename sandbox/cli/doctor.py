"""sbx doctor: what this host can and cannot enforce, and how to mend it."""

import os
import sys
import textwrap
from dataclasses import asdict
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from sandbox.doctor.diagnosis import Check, Diagnosis

COLOURS = {"ok": "green", "missing": "yellow", "broken": "red"}


@click.command(name="doctor")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object instead of a table.")
def command(*, as_json: bool) -> None:
    """Try what sandboxes need of this host and say how to mend what fails.

    Exits with 0 when the default profile can be enforced, else with 1.
    """
    from sandbox.doctor.diagnosis import diagnose
    from sandbox.host import probe

    found = diagnose(probe())
    if as_json:
        click.echo(_json(found))
    else:
        colour = sys.stdout.isatty() and not os.environ.get("NO_COLOR")
        click.echo("\n".join(_table(found)), color=colour)
    sys.exit(0 if found.ok else 1)


def _json(found: "Diagnosis") -> str:
    """Keys: ok, host (the fields of Host), checks (name, state, required, detail, commands)."""
    import msgspec

    host = asdict(found.host)
    checks = [asdict(check) for check in found.checks]
    content = {"ok": found.ok, "host": host, "checks": checks}
    return msgspec.json.format(msgspec.json.encode(content, order="sorted"), indent=2).decode()


def _table(found: "Diagnosis") -> list[str]:
    host = found.host
    lines = [f"Linux {host.release} {host.machine}, {host.user_name or f'uid {host.uid}'}", ""]
    width = max(len(check.name) for check in found.checks)
    for check in found.checks:
        state = click.style(f"{check.state:<9}", fg=COLOURS[check.state])
        indent = " " * (11 + width + 2)
        note = (
            check.detail if check.required or check.state == "ok" else f"{check.detail} (optional)"
        )
        text = textwrap.wrap(note, 100 - len(indent)) or [""]
        lines.append(f"  {state}{check.name:<{width}}  {text[0]}")
        lines += [indent + line for line in text[1:]]
    lines += _commands(found.checks)
    verdict = "can be enforced" if found.ok else "cannot be enforced on this host as it is"
    lines += ["", f"The default profile {verdict}."]
    return lines


def _commands(checks: "tuple[Check, ...]") -> list[str]:
    """What to type, each way once."""
    lines: list[str] = []
    seen: set[tuple[str, ...]] = set()
    for check in checks:
        if check.commands and check.commands not in seen:
            seen.add(check.commands)
            lines += ["", f"To mend {check.name}:"]
            lines += [f"    {line}" for line in check.commands]
    return lines
