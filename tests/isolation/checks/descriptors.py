"""What a payload inherits."""

from tests.isolation.check import OUTSIDE, Check, attempt

CHECKS = (
    Check(
        number=1,
        title="Descriptors of the caller's",
        weakness="CVE-2024-21626",
        attempts=(
            attempt("inherited-descriptors", "EBADF", OUTSIDE),
            attempt("through-a-directory {relative_secret}", "EBADF", OUTSIDE),
        ),
        tests=(
            "tests/kernel/test_descriptors.py::test_no_descriptor_of_the_callers_arrives",
            "tests/kernel/test_descriptors.py::test_declared_descriptors_arrive_and_only_they",
        ),
    ),
)
