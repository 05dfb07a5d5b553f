"""What a payload inherits: descriptors and the working directory."""

from tests.isolation.check import OUTSIDE, Check, attempt

_TESTS = "tests/isolation/test_inherited.py::"

CHECKS = (
    Check(
        number=1,
        title="Descriptors of the caller's",
        weakness="directories of the host's that stay open",
        cves=("CVE-2024-21626",),
        attempts=(
            attempt("inherited-descriptors", "EBADF", OUTSIDE),
            attempt("through-a-directory {relative_secret}", "EBADF", OUTSIDE),
        ),
        tests=(
            "tests/kernel/test_descriptors.py::test_no_descriptor_of_the_callers_arrives",
            "tests/kernel/test_descriptors.py::test_declared_descriptors_arrive_and_only_they",
        ),
    ),
    Check(
        number=2,
        title="Working directory outside of the root",
        weakness="a working directory that lies outside of the root, by its descriptor",
        cves=("CVE-2024-21626",),
        attempts=(attempt("working-directory private/secret", "ENOENT", OUTSIDE),),
        tests=(
            f"{_TESTS}test_a_working_directory_through_a_descriptor_is_refused",
            f"{_TESTS}test_a_caller_whose_directory_was_removed_hands_none_on",
            "tests/kernel/test_process.py::test_a_link_out_of_the_root_leads_nowhere_as_working_directory",
        ),
    ),
    Check(
        number=3,
        title="A directory as a standard stream",
        weakness="openat(2) by a stream that nobody takes for a directory",
        tests=(
            f"{_TESTS}test_a_directory_as_standard_input_is_refused",
            "tests/kernel/test_descriptors.py::test_a_directory_as_a_standard_stream_is_refused",
        ),
    ),
    Check(
        number=4,
        title="Descriptors that stay behind",
        weakness="a supervisor that runs out of them, or hands them on later",
        tests=(f"{_TESTS}test_a_hundred_runs_leave_the_servers_descriptors_as_they_were",),
    ),
)
