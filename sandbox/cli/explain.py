"""`sbx run --explain`: the same launch, followed, and at its end what was refused and why."""

import contextlib
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Final, TextIO

from sandbox.cli.output import paint, printable
from sandbox.errors import SandboxError
from sandbox.plan.record import Plan
from sandbox.process.failure import located_error
from sandbox.profile.resolved import ResolvedProfile, key_text

if TYPE_CHECKING:
    from sandbox.explain import Denial, Report
    from sandbox.host import Host

SHOWN: Final = 30
"""More denials than these are for --json."""
_LAYERS: Final = {
    "mount": "not in the sandbox, or read-only there (mounts)",
    "landlock": "no rule allows it (Landlock)",
    "seccomp": "a system call that the filter refuses (seccomp)",
    "capability": "a privilege that the payload lacks (capabilities)",
    "namespace": "apart from the host's (namespaces)",
    "mode": "plain permissions of a file",
    "limit": "a limit is reached",
    "tracing": "only because it is followed (--explain)",
}


def run_explained(
    plan: Plan,
    resolved: ResolvedProfile,
    host: "Host",
    words: Sequence[str],
    environ: Mapping[str, str],
    *,
    streams: int,
    as_json: bool,
    path: str | None,
    report: str | None,
    name: str | None,
) -> int:
    """Runs the payload, follows it, and tells what was refused; sbx's exit status."""
    from sandbox.cli.ending import open_report, tell_end
    from sandbox.explain import Explanation
    from sandbox.process.ending import end_of
    from sandbox.process.launch import LaunchFailedError
    from sandbox.process.terminal import Signals, attend

    report_fd = open_report(report) if report is not None else -1
    explanation = Explanation(resolved, host, plan)
    with _target(path) as target, Signals() as signals:
        try:
            child = explanation.start(argv=words, environ=environ, terminal=streams, name=name)
            try:
                attend(child, streams, signals)
                content = explanation.report(child)
            finally:
                child.close()
        except LaunchFailedError as failed:
            command = words[0] if words else None
            error = located_error(plan, explanation.failure(failed), command, resolved)
            content = explanation.report_failed(failed, words)
            if as_json or content.denials:
                _tell(content, resolved, target, status=error.exit_code, as_json=as_json)
            raise error from None
        end = end_of(child.end)
        _tell(content, resolved, target, status=end.exit_status, as_json=as_json)
    # Beside JSON on standard error nothing else may be there.
    quiet = as_json and path is None
    tell_end(end, plan, resolved, name=child.name, words=words, report=report_fd, quiet=quiet)
    return end.exit_status


@contextlib.contextmanager
def _target(path: str | None) -> Iterator[TextIO]:
    """Standard error, or a file that is opened before anything runs."""
    if path is None:
        yield sys.stderr
        return
    try:
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOCTTY
        fd = os.open(path, flags, 0o666)
    except OSError as error:
        raise SandboxError(f"--explain-to: {path}: {error.strerror}") from None
    with open(fd, "w", encoding="utf-8", errors="backslashreplace") as file:
        yield file


def _tell(
    content: "Report", resolved: ResolvedProfile, target: TextIO, *, status: int, as_json: bool
) -> None:
    if as_json:
        import msgspec

        from sandbox.explain import as_json as document

        data = msgspec.json.encode(document(content, status=status))
        print(_plain(msgspec.json.format(data, indent=2).decode()), file=target)
    else:
        for line in _lines(content, resolved, target):
            print(line, file=target)
    target.flush()


def _plain(text: str) -> str:
    """JSON in which whatever a terminal might obey is an escape."""
    return "".join(c if c.isprintable() or c == "\n" else _escape(c) for c in text)


def _escape(char: str) -> str:
    units = char.encode("utf-16-be", "surrogatepass").hex()
    return "".join(f"\\u{units[at : at + 4]}" for at in range(0, len(units), 4))


def _lines(content: "Report", resolved: ResolvedProfile, target: TextIO) -> Iterator[str]:
    """The report for a person."""
    label = paint("sbx: explain:", "hint", target)
    count = len(content.denials)
    if not count:
        yield f"{label} the sandbox refused nothing{_others(content)}"
        return
    what = "one thing" if count == 1 else f"{count} things"
    yield f"{label} the sandbox refused {what}{_others(content)}"
    shown = content.denials[:SHOWN]
    likely = {id(denial) for denial in shown[: content.likely]}
    for layer in dict.fromkeys(denial.layer for denial in shown):
        yield ""
        yield paint(_LAYERS[layer.value], "strong", target)
        for denial in shown:
            if denial.layer == layer:
                yield from _denial(denial, target, is_likely=id(denial) in likely and count > 1)
    if count > len(shown):
        yield f"and {count - len(shown)} more, which --json lists"
    if content.dropped:
        yield f"and {content.dropped} more kinds of refusals, which were too many to keep"
    yield from _addition(content, resolved)


def _others(content: "Report") -> str:
    number = len(content.others)
    if not number:
        return ""
    what = "another failure was" if number == 1 else f"{number} other failures were"
    return f" ({what} not its doing; --json lists them)"


def _denial(denial: "Denial", target: TextIO, *, is_likely: bool) -> Iterator[str]:
    words = [denial.call, printable(denial.subject)] if denial.subject else [denial.call]
    times = f", {denial.count} times" if denial.count > 1 else ""
    nothing = "no effect" if denial.layer == "capability" else "no answer"
    head = f"  {' '.join(words)}: {denial.error or nothing}"
    by = f" by {printable(denial.program)}" if denial.program else ""
    mark = paint("  <- likely the cause", "bad", target) if is_likely else ""
    yield f"{head}{paint(by + times, 'dim', target)}{mark}"
    place = ""
    if denial.key:
        origin = denial.origin
        where = f"{os.path.basename(origin.file)}:{origin.line}" if origin and origin.line else ""
        place = " ".join(filter(None, [where, key_text(denial.key)]))
        place = paint(f" [{printable(place)}]", "dim", target)
    yield f"      {printable(denial.reason)}{place}"
    for advice in denial.advice:
        yield f"      {paint('allow it:', 'good', target)} {printable(advice.text())}"
    if denial.note:
        yield f"      {paint('note:', 'hint', target)} {printable(denial.note)}"


def _addition(content: "Report", resolved: ResolvedProfile) -> Iterator[str]:
    from sandbox.explain import snippet
    from sandbox.profile.names import shipped_names, shipped_path

    text = snippet(content)
    if not text:
        return
    own = resolved.files[0]
    shipped = next((name for name in shipped_names() if shipped_path(name) == own), None)
    name = printable(os.path.basename(own))
    where = (
        f"a profile that extends {shipped}"
        if shipped
        else f"{name} or in a profile that extends it"
    )
    yield ""
    yield f"To allow what is likely needed, say in {where}:"
    yield ""
    for line in text.split("\n"):
        yield f"    {printable(line)}" if line else ""
    if "\n[capabilities]\n" in f"\n{text}\n":
        yield ""
        yield "Capabilities are privileges over the whole sandbox: few programs need those that they try."
