"""From the text of a profile to a validated, merged, typed one."""

from sandbox.profile.load import load
from sandbox.profile.resolved import KeyPath, Origin, Overrides, ResolvedProfile

__all__ = ["KeyPath", "Origin", "Overrides", "ResolvedProfile", "load"]
