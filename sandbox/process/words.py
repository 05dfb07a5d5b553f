"""What failed and what to do about it, as text for a person."""

from typing import NamedTuple

from sandbox.errors import EXIT_SANDBOX


class Words(NamedTuple):
    """A failure for a person."""

    reason: str
    hint: str = ""
    exit_code: int = EXIT_SANDBOX
