"""What an attribution knows: the profile with its lines, the plan, the host, and eyes to look."""

import os
from collections.abc import Mapping

import msgspec

from sandbox.explain.facts import Look
from sandbox.host import Host
from sandbox.plan import identity as identities
from sandbox.plan import seccomp, seccomp_policy, tree
from sandbox.plan.identity import Identity
from sandbox.plan.inputs import Inputs
from sandbox.plan.kernel import Access
from sandbox.plan.nodes import Node, Tree
from sandbox.plan.ops import AllowPath, CreateLandlockRuleset
from sandbox.plan.record import Plan
from sandbox.plan.seccomp_policy import Decision
from sandbox.profile.model import Profile
from sandbox.profile.resolved import KeyPath, Origin, ResolvedProfile


class Situation(msgspec.Struct, frozen=True, kw_only=True):
    """One sandbox, as far as reasons for refusals lie in it."""

    resolved: ResolvedProfile
    host: Host
    tree: Tree
    identity: Identity
    look: Look
    handled: int = 0
    """File rights that Landlock keeps; 0 without Landlock."""
    allowed: tuple[tuple[str, int], ...] = ()
    """Landlock's rules: path and rights."""
    decisions: Mapping[int, Decision] = {}
    """What the filter does, by call number; empty without a filter."""

    @property
    def profile(self) -> Profile:
        return self.resolved.profile

    @property
    def on_host(self) -> bool:
        """Paths inside are paths of the host's."""
        return self.profile.rootfs.type == "host"

    def origin(self, key: KeyPath) -> Origin | None:
        return self.resolved.origin(key) if key else None

    def node(self, path: str) -> Node | None:
        """The statement that holds at the path; None where that is the root."""
        at = next((node for node in self.tree.nodes if node.path == path), None)
        return at or self.tree.above(path)

    def landlock_allows(self, path: str, access: Access) -> bool:
        """Whether the rules at and above the path give these rights, as far as they are kept."""
        given = 0
        for rule, rights in self.allowed:
            if rule in {"/", path} or path.startswith(f"{rule}/"):
                given |= rights
        return not access & self.handled & ~given

    def source_of(self, path: str) -> str | None:
        """What the host has in place of a path inside; None where nothing of it comes from there."""
        node = self.node(path)
        tree_path = self.profile.rootfs.path or "/"
        if node is not None and node.mount is not None:
            if node.mount.type != "bind":
                return path
            source = node.mount.source or node.path
            return os.path.normpath(source + path[len(node.path) :])
        return path if self.on_host else os.path.normpath(tree_path + path)

    def seal(self, key: KeyPath) -> Origin | None:
        """Where another file than the profile's own seals this key."""
        text = [part for part in key if isinstance(part, str)]
        for index, sealed in enumerate(self.profile.profile.sealed):
            parts = sealed.split(".")
            if text[: len(parts)] == parts:
                place = self.origin(("profile", "sealed", index))
                if place and not self._is_own(place.file):
                    return place
        return None

    def _is_own(self, shown: str) -> bool:
        own = self.resolved.known_as
        return os.path.basename(own) == os.path.basename(shown)


def situation_of(resolved: ResolvedProfile, host: Host, plan: Plan, look: Look) -> Situation:
    """The situation in a sandbox of this plan, which was compiled from this profile and host."""
    inputs = Inputs(resolved, host)
    identity = identities.resolve(inputs)
    decisions: dict[int, Decision] = {}
    if resolved.profile.seccomp.enabled:
        policy = seccomp.policy_from_profile(resolved.profile.seccomp)
        decisions = {d.number: d for d in seccomp_policy.resolve(policy, host.machine)}
    return Situation(
        resolved=resolved,
        host=host,
        tree=tree.build(inputs, identity),
        identity=identity,
        look=look,
        handled=next((op.fs for op in plan.ops if isinstance(op, CreateLandlockRuleset)), 0),
        allowed=tuple((op.path, op.access) for op in plan.ops if isinstance(op, AllowPath)),
        decisions=decisions,
    )
