"""What every part of the compilation reads, and where it leaves what it finds wrong."""

from typing import NoReturn

from sandbox.errors import Problem, ProfileError, UnsupportedError
from sandbox.host import Host
from sandbox.plan.record import Watched
from sandbox.profile.model import Feature
from sandbox.profile.resolved import KeyPath, ResolvedProfile, key_text


class Inputs:
    """One profile and one host, and what the compilation finds out about the two."""

    def __init__(self, resolved: ResolvedProfile, host: Host) -> None:
        self.resolved = resolved
        self.profile = resolved.profile
        self.host = host
        self.not_enforced: set[str] = set()
        self.watched: set[Watched] = set()
        self.variables: set[str] = set()
        self._problems: list[Problem] = []

    def conflict(self, key: KeyPath, reason: str, hint: str = "") -> None:
        """Statements of the profile that can't hold together; all of them are reported at once."""
        self._problems.append(self.resolved.problem(key, reason, hint))

    def raise_conflicts(self) -> None:
        """Raises ProfileError if there were any."""
        if self._problems:
            raise ProfileError(tuple(self._problems))

    def lacks(self, key: KeyPath, message: str, hint: str) -> NoReturn:
        """The host lacks what the statement at `key` asks for."""
        origin = self.resolved.origin(key)
        raise UnsupportedError(
            f"{key_text(key)}: {message}", hint=hint, origin=str(origin) if origin else ""
        )

    def lacks_optional(self, feature: Feature, key: KeyPath, message: str, hint: str) -> None:
        """The same, but no error if the profile calls the feature optional."""
        if feature not in self.profile.profile.optional:
            advice = f"or add '{feature}' to profile.optional, to run without it"
            self.lacks(key, message, f"{hint}; {advice}")
        self.not_enforced.add(feature)

    def depends_on(self, variable: str) -> None:
        """The plan depends on the value of this variable of the caller's."""
        self.variables.add(variable)

    def watch(self, *paths: str, follow: bool = True, any_state: bool = False) -> None:
        """The plan depends on what these paths are; in `any_state` only on which files."""
        self.watched.update(Watched(path, follow, any_state) for path in paths)
