"""What the outcome of an attempt means."""

from typing import Final

NO_VERDICT: Final = ("SIGALRM", "EPROTO")
"""Outcomes of the probe's own: an attempt that has come to no end, or ended without a word."""


def is_stopped(outcome: str) -> bool:
    """Whether the attacker has gained nothing, and that was seen."""
    return outcome != "succeeded" and outcome not in NO_VERDICT
