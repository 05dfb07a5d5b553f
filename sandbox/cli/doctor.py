"""sbx doctor: what this host can and cannot enforce, and how to mend it."""

import os
import subprocess
import sys
import textwrap
from dataclasses import asdict
from typing import TYPE_CHECKING, Final

import click

from sandbox._paths import launcher_path
from sandbox.cli import output
from sandbox.cli.help import Verb
from sandbox.errors import SandboxError

if TYPE_CHECKING:
    from sandbox.doctor.diagnosis import Check, Diagnosis
    from sandbox.host import Host

DEFAULT_PROFILE: Final = "minimal"
STYLES: Final = {"ok": "good", "missing": "doubtful", "broken": "bad"}


@click.command(cls=Verb, name="doctor")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object instead of a table.")
@click.option(
    "--apparmor-profile",
    is_flag=True,
    help="Print the profile that lets this sbx make user namespaces where AppArmor restricts them.",
)
def command(*, as_json: bool, apparmor_profile: bool) -> int:
    """Try what sandboxes need of this host and say how to mend what fails.

    Exits with 0 when the default profile can be enforced, else with 1.
    """
    from dataclasses import replace

    if apparmor_profile:
        from sandbox.doctor.apparmor import profile_text

        print(profile_text(launcher_path()), end="")
        return 0
    from sandbox.doctor.diagnosis import diagnose
    from sandbox.host import probe

    found = diagnose(probe())
    more = (_cache(found.host), _default_profile(found.host, able=found.ok))
    found = replace(found, checks=(*found.checks, *more))
    if as_json:
        click.echo(_json(found))
    else:
        output.say("\n".join(_table(found)))
    return 0 if found.ok else 1


def _default_profile(host: "Host", *, able: bool) -> "Check":
    """The shipped default, compiled for this host and, where all else works, run."""
    from sandbox.doctor.diagnosis import Check
    from sandbox.plan.compile import compile as compile_plan
    from sandbox.profile.load import load

    name = f"profile {DEFAULT_PROFILE}"
    try:
        profile = load(DEFAULT_PROFILE, cwd="/", environ=os.environ)
        plan = compile_plan(profile, host)
    except SandboxError as error:
        detail = "; ".join(error.lines())
        return Check(name=name, state="missing", required=True, detail=detail)
    if not able:
        return Check(name=name, state="broken", required=True, detail="not tried: see above")
    gaps = ", ".join(plan.not_enforced)
    failure = _run_default()
    if failure:
        return Check(name=name, state="broken", required=True, detail=failure)
    detail = f"runs, without {gaps}" if gaps else "runs, with everything enforced"
    return Check(name=name, state="ok", required=True, detail=detail)


def _cache(host: "Host") -> "Check":
    """Where compiled plans are kept, without which each launch needs Python."""
    from sandbox._paths import cache_dir
    from sandbox.doctor.diagnosis import Check
    from sandbox.plan.cache import trouble

    where = cache_dir(os.environ, host.uid)
    reason = trouble(os.environ)
    if reason:
        detail = f"{reason}; each launch compiles its profile anew, which takes a tenth of a second"
        return Check(name="plan cache", state="broken", required=False, detail=detail)
    return Check(name="plan cache", state="ok", required=False, detail=f"kept in {where}")


def _run_default() -> str:
    """What sbx says when it can't run a program in the default profile; nothing when it can."""
    launcher = launcher_path()
    words = [launcher, "run", "--profile", DEFAULT_PROFILE, "--", "/bin/true"]
    try:
        done = subprocess.run(
            words, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False, cwd="/"
        )
    except OSError as error:
        return f"{launcher} can't be run: {error.strerror}; install sbx anew with pip"
    if done.returncode == 0:
        return ""
    said = [line for line in done.stderr.splitlines() if line.startswith(("sbx: ", "hint: "))]
    return "; ".join(said) or f"exit status {done.returncode}"


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
        state = output.paint(f"{check.state:<9}", STYLES[check.state], sys.stdout)
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
