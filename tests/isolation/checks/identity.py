"""Who the payload is, and what could make it somebody else."""

from tests.isolation.check import OUTSIDE, ROOTED, Check, Control, attempt

NESTED = Control(how='[seccomp]\nallow = ["@namespaces"]')

CHECKS = (
    Check(
        number=27,
        title="Nested user namespaces",
        weakness="the kernel's code for root, reached by anybody (CVE-2022-0185 and its like)",
        attempts=(
            attempt("user-namespace-by-unshare", "EPERM", NESTED),
            attempt("user-namespace-by-clone", "EPERM", NESTED),
            attempt("user-namespace-by-clone3", "ENOSYS", NESTED),
        ),
        tests=(
            "tests/kernel/test_namespaces.py::test_the_limit_on_user_namespaces_holds_without_the_filter",
        ),
    ),
    Check(
        number=29,
        title="Capabilities of every thread",
        weakness="ambient and inheritable capabilities (CVE-2022-24769)",
        attempts=(attempt("capabilities", "ENODATA", ROOTED),),
        tests=("tests/kernel/test_privileges.py::test_a_kept_capability_is_the_only_one",),
    ),
    Check(
        number=31,
        title="Securebits",
        weakness="rules of exec for user 0 that can be had back",
        attempts=(
            attempt("unlocked-securebits", "EPERM", OUTSIDE),
            attempt("set-securebits 0", "EPERM", ROOTED),
        ),
        tests=("tests/kernel/test_privileges.py::test_securebits_are_locked",),
    ),
)
