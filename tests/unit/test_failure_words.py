"""What a failed op is called: the words fit what it was and its errno."""

import errno

import pytest

from sandbox.errors import EXIT_NOT_FOUND, EXIT_SANDBOX
from sandbox.plan import ops
from sandbox.process.failure_words import (
    DETAIL_NOT_FOUND,
    NO_COMMAND,
    STAGE_CLONE,
    STAGE_PREPARE,
    words_of,
)
from sandbox.process.launch import Failure

PAYLOAD = STAGE_CLONE + 1
"""Any stage behind the clone."""
HERE = ops.ChangeDirectory(path="/srv/app")


@pytest.mark.parametrize("error", (errno.ENOENT, errno.EACCES, errno.ENOTDIR, errno.ELOOP))
def test_a_working_directory_out_of_reach_is_the_profiles(error: int) -> None:
    words = words_of(HERE, Failure(PAYLOAD, 0, error, 0), None)
    assert words.reason.startswith("the working directory '/srv/app': ")
    assert words.hint == "grant it with filesystem.read, or set process.cwd"


@pytest.mark.parametrize(
    ("error", "reason", "hint"),
    (
        (
            errno.EMFILE,
            "too many open files",
            "raise the caller's limit: ulimit -n 65536; and rlimits.nofile, if the profile sets it lower",
        ),
        (errno.ENFILE, "the host has no descriptor left", "raise fs.file-max"),
        (errno.ENOMEM, "the kernel has no memory for it", ""),
    ),
)
def test_a_working_directory_for_which_something_ran_out_is_not(
    error: int, reason: str, hint: str
) -> None:
    words = words_of(HERE, Failure(PAYLOAD, 0, error, 0), None)
    assert words.reason.endswith(f": {reason}")
    assert (words.hint, "filesystem.read" in words.hint) == (hint, False)


def test_a_plan_without_a_command_names_both_places_for_one() -> None:
    none = ops.Execute(argv=())
    words = words_of(none, Failure(STAGE_PREPARE, 0, errno.EINVAL, 0), None)
    assert words == NO_COMMAND
    assert "-- COMMAND" in words.hint
    assert "process.command" in words.hint
    assert words.exit_code == EXIT_SANDBOX


@pytest.mark.parametrize(
    ("command", "hint"),
    (
        ("tool", "; it was searched in the PATH of [environment]"),
        ("./tool", "; a path without a '/' in front starts at process.cwd"),
        ("/bin/tool", ""),
    ),
)
def test_a_command_that_is_not_there_is_told_where_it_was_looked_for(
    command: str, hint: str
) -> None:
    failure = Failure(PAYLOAD, 0, errno.ENOENT, DETAIL_NOT_FOUND)
    words = words_of(ops.Execute(argv=("other",)), failure, command)
    assert words.reason == f"there is no command '{command}' in the sandbox"
    assert words.hint == f"the sandbox has what filesystem.execute grants{hint}"
    assert words.exit_code == EXIT_NOT_FOUND
