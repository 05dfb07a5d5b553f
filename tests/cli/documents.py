"""Documents that can be followed: their files are written, their commands typed, their output compared.

In a Markdown document

- a fenced block whose first line is a comment with a file's name (`# app.toml`) is that file;
- in a `console` block a line after `$ ` is typed, lines after `> ` go on with it, and what stands
  below is what comes out; `...` stands for any lines;
- every line of an `sh` block is typed.

What stands behind `<!-- not run: why -->` is left out.
"""

import contextlib
import os
import re
import signal
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

TREE = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
SECONDS = 120
MARK = "\x01"
_MARK = f"status=$?; printf '{MARK}%d %s\\n' $status $EPOCHREALTIME\n"

_FENCE = re.compile(r"(?ms)^(<!-- not run: .*? -->\n)?^(`{3,})(\w*)\n(.*?)^\2$")
_FILE = re.compile(r"(?:#|//|<!--) (\S+\.\w+)(?: -->)?")


class Step(NamedTuple):
    """A file to write, or a command with what is shown below it; None where nothing is claimed."""

    file: str
    text: str
    shown: tuple[str, ...] | None


class Answer(NamedTuple):
    """How a command ended, what it printed, and how long it took."""

    status: int
    lines: tuple[str, ...]
    seconds: float


def read(name: str) -> str:
    with open(os.path.join(TREE, name), encoding="utf-8") as file:
        return file.read()


def sections(text: str) -> dict[str, str]:
    """A document's parts by their headings of the second level; what comes first has no name."""
    parts = re.split(r"(?m)^## (.*)$", text)
    return {"": parts[0], **dict(zip(parts[1::2], parts[2::2], strict=True))}


def steps(text: str) -> Iterator[Step]:
    """What there is to do, in order."""
    for left_out, _, kind, block in _FENCE.findall(text):
        first = block.partition("\n")[0]
        if left_out:
            continue
        if kind == "console":
            yield from _typed(block)
        elif kind == "sh":
            for command in re.sub(r"\\\n\s*", "", block).splitlines():
                yield Step("", command, None)
        elif named := _FILE.fullmatch(first):
            yield Step(named[1], block, None)


def left_out(text: str) -> list[str]:
    """Why blocks of a document are not run."""
    return re.findall(r"<!-- not run: (.*?) -->", text)


def _typed(block: str) -> Iterator[Step]:
    for part in re.split(r"(?m)^\$ ", block)[1:]:
        first, *rest = part.splitlines()
        more = [line for line in rest if line.startswith("> ")]
        shown = rest[len(more) :]
        yield Step("", "\n".join([first, *(line[2:] for line in more)]), tuple(shown))


def follow(
    found: Sequence[Step],
    *,
    place: str,
    environment: Mapping[str, str],
    user: int | None = None,
    prefix: Sequence[str] = (),
    timeout: float = SECONDS,
    stop: bool = False,
) -> list[tuple[Step, Answer]]:
    """Do all steps in one shell, and say what each command answered.

    It starts in `place`, as `user` where there is one, behind the words of `prefix`. With `stop` a command
    that fails is the last one.
    """
    after = "[ $status = 0 ] || exit\n" if stop else ""
    script = [_MARK]
    for step in found:
        if step.file:
            target = f'"$PWD"/{step.file}'
            script.append(f"cat >{target} <<'END OF {step.file}'\n{step.text}END OF {step.file}\n")
        else:
            script.append(f"{{ {step.text}\n}} </dev/null\n{_MARK}{after}")
    path, output = os.path.join(place, ".script"), os.path.join(place, ".output")
    with open(path, "w", encoding="utf-8") as file:
        file.write("".join(script))
    with open(output, "w+", encoding="utf-8") as log:
        _run([*prefix, "bash", "--norc", path], log.fileno(), place, environment, user, timeout)
        log.seek(0)
        said = log.read()
    os.unlink(path)
    os.unlink(output)
    commands = [step for step in found if not step.file]
    answers = list(_answers(said))
    if len(answers) != len(commands):
        raise AssertionError(f"{len(answers)} of {len(commands)} commands came to an end:\n{said}")
    return list(zip(commands, answers, strict=True))


def _run(
    words: Sequence[str],
    log: int,
    place: str,
    environment: Mapping[str, str],
    user: int | None,
    timeout: float,
) -> None:
    """Until the script ends; what it left running is killed with it."""
    shell = subprocess.Popen(
        list(words),
        cwd=place,
        env=dict(environment),
        stdin=subprocess.DEVNULL,
        stdout=log,
        stderr=log,
        start_new_session=True,
        user=user,
        group=user,
        extra_groups=None if user is None else [],
    )
    try:
        shell.wait(timeout=timeout)
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(shell.pid, signal.SIGKILL)
        shell.wait()


def _answers(said: str) -> Iterator[Answer]:
    _, *parts = re.split(rf"{MARK}(\d+) ([\d.]+)\n", said)
    statuses, moments, texts = parts[::3], [float(part) for part in parts[1::3]], parts[2::3]
    for at, text in enumerate(texts[:-1], 1):
        seconds = moments[at] - moments[at - 1]
        yield Answer(int(statuses[at]), tuple(text.splitlines()), seconds)


def differences(step: Step, answer: Answer) -> str:
    """What differs from what the document shows; nothing where it is right."""
    if answer.status:
        return f"status {answer.status}:\n" + "\n".join(answer.lines)
    if step.shown is not None and not are_as_shown(answer.lines, step.shown):
        return "shown:\n" + "\n".join(step.shown) + "\ncame:\n" + "\n".join(answer.lines)
    return ""


def are_as_shown(lines: Sequence[str], shown: Sequence[str]) -> bool:
    """Line by line; `...` stands for any number of lines."""
    if not shown:
        return not lines
    if shown[0] == "...":
        return any(are_as_shown(lines[at:], shown[1:]) for at in range(len(lines) + 1))
    return bool(lines) and is_as_shown(lines[0], shown[0]) and are_as_shown(lines[1:], shown[1:])


def is_as_shown(line: str, shown: str) -> bool:
    """The same; of another program's own message (`ls: ...: reason`) the reason counts.

    Where a shown line has `...`, anything may stand.
    """
    if re.match(r"(?!sbx)[a-z]+: ", shown):
        return line.endswith(shown.rpartition(": ")[2]) and line.startswith(shown.partition(" ")[0])
    pattern = ".*".join(map(re.escape, shown.split("...")))
    return re.fullmatch(pattern, line.rstrip()) is not None
