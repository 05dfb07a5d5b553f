"""Ops that the supervisor heeds and the sandbox never sees: what it is known by."""

from sandbox.plan.record import Op


class Identify(Op, frozen=True, kw_only=True):
    """What the sandbox's record says: the stem of its name, and the profile's own file."""

    KIND = 56
    stem: str
    profile: str

    def describe(self) -> str:
        return f"known as {self.stem}-PID while it runs, unless --name says otherwise"
