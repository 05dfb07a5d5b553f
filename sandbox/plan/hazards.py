"""What a sound profile lets the payload do to sbx itself; who launches or checks it is warned."""

import os
from collections.abc import Iterator, Mapping

from sandbox.errors import Problem
from sandbox.plan.planting import has_callers_id, planting
from sandbox.profile.resolved import ResolvedProfile


def hazards(
    resolved: ResolvedProfile,
    environ: Mapping[str, str],
    uid: int,
    *,
    landlock: bool,
    programs: tuple[str, ...],
) -> tuple[Problem, ...]:
    """The dangers of a profile that the user `uid` starts.

    `landlock` says whether the host has it; `programs` are the files of sbx's own that begin a
    sandbox.
    """
    return *planting(resolved, environ, uid), *_exposed(resolved, uid, landlock, programs)


def _exposed(
    resolved: ResolvedProfile, uid: int, landlock: bool, programs: tuple[str, ...]
) -> Iterator[Problem]:
    """Programs that the payload owns and can reach on the host.

    A script that begins with `#!/proc/self/exe` runs what its exec is called from, and the links
    of /proc lead from there to the file, past the mounts. Landlock keeps both closed.
    """
    profile = resolved.profile
    kept = landlock and profile.landlock.enabled and profile.landlock.files
    if kept or not has_callers_id(profile, uid):
        return
    for program in programs:
        try:
            owner = os.stat(program).st_uid
        except OSError:
            continue  # what can't be looked at isn't what begins this sandbox
        if owner == uid:
            yield resolved.problem(
                ("landlock", "enabled" if profile.landlock.files else "files"),
                f"without Landlock the payload, as its owner, can change the mode of '{program}' "
                "on the host",
                "have another user own it, or keep Landlock",
            )
