"""Ops that the supervisor heeds and the sandbox never sees: what it is known by."""

from sandbox.plan.record import Op


class ProvideDirectory(Op, frozen=True, kw_only=True):
    """A directory of the host's, with mode 0700; nothing is done where it can't be made.

    Who can't make it now can't later, so that nothing can come to be there.
    """

    KIND = 57
    path: str

    def describe(self) -> str:
        return f"{self.path} is made on the host where it is missing"


class Identify(Op, frozen=True, kw_only=True):
    """What the sandbox's record says: the stem of its name, and the profile's own file."""

    KIND = 56
    stem: str
    profile: str

    def describe(self) -> str:
        return f"known as {self.stem}-PID while it runs, unless --name says otherwise"


class Survive(Op, frozen=True, kw_only=True):
    """The payload runs on without its supervisor."""

    KIND = 71

    def describe(self) -> str:
        return "if the supervisor dies, run on, and wait for another one to take over"
