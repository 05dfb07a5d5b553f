"""One thing done to each of several live sandboxes."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from sandbox.cli import output
from sandbox.errors import EXIT_SANDBOX, SandboxError

if TYPE_CHECKING:
    from sandbox.live.records import Live


def each(names: Sequence[str], do: "Callable[[Live], None]", *, everything: bool = False) -> int:
    """Does something to each of the sandboxes; 125 where it can't be done to one."""
    from sandbox.live.records import chosen, runtime

    found, errors = chosen(runtime(), names, everything=everything)
    for live in found:
        try:
            do(live)
        except SandboxError as error:
            errors.append(error)
    for problem in errors:
        output.report_error(problem)
    return EXIT_SANDBOX if errors else 0
