"""A launch that is followed, from the plan to the report."""

import errno
import os
from collections.abc import Mapping, Sequence

from sandbox.errors import UnsupportedError
from sandbox.explain.attribute import explain
from sandbox.explain.denial import Denial, Layer, Reason
from sandbox.explain.facts import Eyes, interpreter_at
from sandbox.explain.filters import followed, original_op, watches
from sandbox.explain.limits import full
from sandbox.explain.report import Report, report
from sandbox.explain.situation import Situation, situation_of
from sandbox.host import Host
from sandbox.plan import codec, syscalls
from sandbox.plan.nodes import Kind
from sandbox.plan.ops import Execute, InstallFilter
from sandbox.plan.record import Plan
from sandbox.process.failure_words import DETAIL_INTERPRETER
from sandbox.process.launch import Failure, LaunchFailedError
from sandbox.process.traced import (
    KILLED,
    SET_ID,
    STAGE_TRACE,
    Followed,
    Refusal,
    TracedChild,
    start_traced,
)
from sandbox.profile.resolved import ResolvedProfile

_NOISE = frozenset({errno.ENOENT, errno.ENOTDIR})
_LEFT: int = 4096
"""A file system in memory with fewer bytes left than a page is full."""


class Explanation:
    """One run of a sandbox that is followed.

    `start`, wait for the child (it is a `Child`), then `report`, then `child.close`.
    """

    def __init__(self, resolved: ResolvedProfile, host: Host, plan: Plan) -> None:
        self._resolved = resolved
        self._host = host
        self._plan = plan
        self._early = self._situation(Eyes(-1))

    def _situation(self, eyes: Eyes) -> Situation:
        return situation_of(self._resolved, self._host, self._plan, eyes)

    def start(
        self,
        *,
        argv: Sequence[str],
        environ: Mapping[str, str],
        terminal: int = 0,
        name: str | None = None,
    ) -> TracedChild:
        """As `launch.start`. Raises UnsupportedError where nothing may be traced, LaunchFailedError."""
        machine = self._host.machine
        plan = followed(self._plan, machine)
        try:
            return start_traced(
                codec.encode(plan),
                [op.program for op in plan.ops if isinstance(op, InstallFilter)],
                watches(self._plan, machine),
                self._matters,
                argv=argv,
                environ=environ,
                terminal=terminal,
                name=name,
            )
        except LaunchFailedError as failed:
            if failed.failure.stage == STAGE_TRACE:
                raise _untraceable(failed.failure.error) from None
            raise

    def _matters(self, refusal: Refusal) -> bool:
        """Asked by the thread that follows, when there are more refusals than are kept."""
        if refusal.error not in _NOISE:
            return True
        denial = explain(self._early, refusal)
        return denial is not None and denial.matters

    def report(self, child: TracedChild) -> Report:
        """What was refused, while the child isn't closed yet."""
        return self._report(child.followed(), child.root)

    def failure(self, failed: LaunchFailedError) -> Failure:
        """Where a launch failed, by the ops of the plan that isn't followed."""
        return failed.failure._replace(op=original_op(self._plan, failed.failure.op))

    def report_failed(self, failed: LaunchFailedError, argv: Sequence[str]) -> Report:
        """Why the program of a launch that failed there couldn't be started.

        Its process isn't the payload's yet, so that what it is refused can't be looked at: this is
        found from the command.
        """
        op = self.failure(failed).op
        if op >= len(self._plan.ops) or not isinstance(self._plan.ops[op], Execute):
            return report(())
        eyes = Eyes(-1)
        try:
            words = list(argv) or list(self._resolved.profile.process.command)
            path = self._program(words[0], eyes)
            situation = self._situation(eyes)
            if failed.failure.detail == DETAIL_INTERPRETER:
                path = interpreter_at(situation.source_of(path) or path) or path
            call = syscalls.numbers(self._host.machine)["execve"]
            found = explain(situation, program_refusal(call, failed.failure.error, path))
        finally:
            eyes.close()
        return report([found] if found else [], total=1)

    def _program(self, word: str, eyes: Eyes) -> str:
        """Where the command is, outside if not inside."""
        if "/" in word:
            return os.path.normpath(os.path.join(self._resolved.profile.process.cwd, word))
        search = self._resolved.profile.environment.set.get("PATH", "/usr/local/bin:/usr/bin:/bin")
        paths = [f"{entry}/{word}" for entry in search.split(":") if entry.startswith("/")]
        return next((path for path in paths if eyes.outside(path).exists), word)

    def _report(self, seen: Followed, root: int) -> Report:
        eyes = Eyes(root)
        try:
            situation = self._situation(eyes)
            found = [explain(situation, refusal) for refusal in seen.refusals]
            denials = [denial for denial in found if denial is not None]
            known = {denial.key for denial in denials if denial.layer == Layer.LIMIT}
            late = _full(situation, after=seen.total)
            denials += [denial for denial in late if denial.key not in known]
        finally:
            eyes.close()
        well = sum(
            r.count for r in seen.refusals if not r.error and not r.flags & (SET_ID | KILLED)
        )
        return report(denials, total=seen.total - well, dropped=seen.dropped)


def program_refusal(call: int, error: int, path: str) -> Refusal:
    """execve(2) of a path, refused."""
    return Refusal(
        call=call,
        error=error,
        flags=0,
        pid=0,
        arguments=(0,) * 6,
        count=1,
        first=1,
        last=1,
        made_good=0,
        program="",
        failed=True,
        paths=(("", path),),
        data=b"",
    )


def _full(s: Situation, *, after: int) -> list[Denial]:
    """File systems in memory that are full at the end: write(2) is too hot to be looked at."""
    found = []
    for node in s.tree.nodes:
        in_memory = node.kind == Kind.TMPFS or (node.mount and node.mount.type != "bind")
        left = s.look.free(node.path) if in_memory else None
        if left is None or (left[0] >= _LEFT and left[1] > 0):
            continue
        reason: Reason | None = full(s, node)
        if reason is not None:
            found.append(
                Denial(
                    call="write",
                    error="ENOSPC",
                    subject=node.path,
                    layer=Layer.LIMIT,
                    reason=reason.text,
                    key=reason.key,
                    origin=s.origin(reason.key),
                    advice=reason.advice,
                    last=after + 1,
                )
            )
    return found


def _untraceable(error: int) -> UnsupportedError:
    hint = (
        "the sysctl kernel.yama.ptrace_scope must be below 3 (2 for root alone), a container's "
        "filter must allow ptrace, and sbx itself must not be traced (strace, gdb)"
    )
    name = errno.errorcode.get(error, str(error))
    return UnsupportedError(
        f"--explain needs ptrace(2), which this host refuses ({name})",
        hint=f"{hint}; without --explain the sandbox runs here",
    )
