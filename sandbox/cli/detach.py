"""`sbx run --detach`: a sandbox whose supervisor stays behind in the background."""

import os
import subprocess
import sys
from collections.abc import Mapping, Sequence

import msgspec

from sandbox.cli import output
from sandbox.errors import SandboxError
from sandbox.plan.record import Plan
from sandbox.profile.resolved import ResolvedProfile


def in_background(resolved: ResolvedProfile) -> ResolvedProfile:
    """The same profile, but that its output is kept where it would go to a terminal that is left."""
    profile = resolved.profile
    if profile.service.log != "inherit":
        return resolved
    service = msgspec.structs.replace(profile.service, log="file")
    return msgspec.structs.replace(
        resolved, profile=msgspec.structs.replace(profile, service=service)
    )


def run_detached(
    launcher: str,
    plan: Plan,
    data: bytes,
    words: Sequence[str],
    environ: Mapping[str, str],
    name: str | None,
    report: str | None,
) -> int:
    """Returns once the service is ready, or has ended: then with its status, or an error of sbx's."""
    reader, writer = os.pipe()
    plan_fd = os.memfd_create("sbx-plan", 0)
    os.write(plan_fd, data)
    arguments = [launcher, "run", "--plan-fd", str(plan_fd), "--ready-fd", str(writer)]
    arguments += ["--name", name] if name is not None else []
    arguments += ["--report", report] if report is not None else []
    try:
        process = subprocess.Popen(
            [*arguments, "--", *words],
            env=dict(environ),
            pass_fds=(plan_fd, writer),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            start_new_session=True,
        )
    except OSError as error:
        raise SandboxError(f"the launcher {launcher} can't be run: {error.strerror}") from None
    finally:
        os.close(writer)
        os.close(plan_fd)
    known_as = name or f"{_stem(plan)}-{process.pid}"
    try:
        is_ready = os.read(reader, 1) != b""
    except KeyboardInterrupt:
        process.terminate()
        raise
    finally:
        os.close(reader)
    if is_ready:
        process.returncode = 0  # it goes on, and isn't ours to wait for
        output.say(known_as)
        return 0
    return _failed(process, known_as)


def _stem(plan: Plan) -> str:
    from sandbox.plan.ops import Identify

    return next(op.stem for op in plan.ops if isinstance(op, Identify))


def _failed(process: "subprocess.Popen[bytes]", name: str) -> int:
    """What the supervisor has said goes on; who has said nothing has ended before it was ready."""
    _, said = process.communicate()
    sys.stderr.buffer.write(said)
    sys.stderr.flush()
    code = process.returncode if process.returncode >= 0 else 128 - process.returncode
    if not said:
        output.report_error(
            SandboxError(
                f"'{name}' ended with {code} before it was ready",
                hint=f"what it has written: sbx logs {name}",
            )
        )
    return code or 125
