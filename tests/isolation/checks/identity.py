"""Who the payload is, and what could make it somebody else."""

from tests.isolation.check import (
    OUTSIDE,
    OUTSIDE_AS_ROOT,
    OUTSIDE_AS_USER,
    ROOTED,
    Check,
    Control,
    attempt,
)

_PRIVILEGES = "tests/kernel/test_privileges.py::"
_IDENTITY = "tests/kernel/test_identity.py::"

NESTED = Control(how='[seccomp]\nallow = ["@namespaces"]')
# The shipped profile for payloads that write to directories of the host's.
EXECUTE = '[filesystem]\nexecute = ["{data}"]'
NO_SET_ID = """\
profile.extends = "no-set-id"
filesystem.write = ["{work}"]
[[mounts]]
type = "bind"
source = "{probe}"
target = "{probe}"
execute = true
"""

CHECKS = (
    Check(
        number=26,
        title="Maps and groups that are written anew",
        weakness="groups that deny access, and are dropped",
        cves=("CVE-2014-8989",),
        attempts=(
            attempt(
                "write-map /proc/self/uid_map", "EROFS", Control(how=OUTSIDE.how, words="own-map")
            ),
            attempt("setgroups", "EPERM", OUTSIDE_AS_ROOT),
        ),
        tests=(
            f"{_IDENTITY}test_the_payload_has_no_supplementary_groups_of_roots",
            f"{_IDENTITY}test_ids_cannot_be_changed",
        ),
    ),
    Check(
        number=27,
        title="Nested user namespaces",
        weakness="the kernel's code for root, reached by anybody",
        cves=("CVE-2022-0185", "CVE-2023-0386"),
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
        number=28,
        title="Users that are written oddly",
        weakness="an empty, numeric or overflowing name that becomes user 0",
        cves=("CVE-2016-3697",),
        tests=("tests/isolation/test_users.py::test_an_odd_user_is_an_error_and_never_user_0",),
    ),
    Check(
        number=29,
        title="Capabilities of every thread",
        weakness="ambient and inheritable capabilities",
        cves=("CVE-2022-24769",),
        attempts=(
            attempt("capabilities", "ENODATA", ROOTED),
            attempt("raise-capability 21", "EPERM", ROOTED),
        ),
        tests=(
            f"{_PRIVILEGES}test_all_five_capability_sets_are_empty",
            f"{_PRIVILEGES}test_a_kept_capability_is_the_only_one",
        ),
    ),
    Check(
        number=30,
        title="Programs that lend an identity",
        weakness="set-user-id files and file capabilities",
        attempts=(
            attempt("lends-identity {set_user_id}", "EPERM", OUTSIDE_AS_USER, profile=EXECUTE),
            attempt("lends-identity {capable}", "EPERM", OUTSIDE_AS_USER, profile=EXECUTE),
            attempt("unset-no-new-privs", "EINVAL", OUTSIDE),
        ),
        tests=(f"{_PRIVILEGES}test_a_set_user_id_program_gains_nothing",),
    ),
    Check(
        number=31,
        title="Securebits",
        weakness="rules of exec for user 0 that can be had back",
        attempts=(
            attempt("unlocked-securebits", "EPERM", OUTSIDE),
            attempt("set-securebits 0", "EPERM", ROOTED),
        ),
        tests=(f"{_PRIVILEGES}test_securebits_are_locked",),
    ),
    Check(
        number=32,
        title="Set-user-id files of the payload's",
        weakness="a file that lends the payload's id to others",
        attempts=(
            attempt("set-id-by-chmod {work}/a", "EPERM", OUTSIDE),
            attempt("set-id-by-fchmod {work}/b", "EPERM", OUTSIDE),
            attempt("set-id-by-fchmodat {work}/c", "EPERM", OUTSIDE),
            attempt("set-id-by-fchmodat2 {work}/d", "EPERM", OUTSIDE),
            attempt("set-id-by-mknod {work}/e", "EPERM", OUTSIDE),
            attempt("set-id-by-open {work}/f", "EPERM", OUTSIDE, profile=NO_SET_ID),
            attempt("set-id-by-openat2 {work}/g", "ENOSYS", OUTSIDE, profile=NO_SET_ID),
        ),
    ),
)
