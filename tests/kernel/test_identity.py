"""Who the payload is, inside and on the host's disks."""

import os
import shutil

import pytest

from tests.kernel.harness import MS_BIND, NOT_ROOT, Sandbox, Step, mount, outcomes
from tests.kernel.pieces import writable

RANGE = 65536


def base_of(sandbox: Sandbox, text: str = "") -> int:
    """The first id on the host of root's range for the probe's profile."""
    ((inside, outside, count),) = sandbox.dump(text).maps[0]
    assert (inside, count) == (0, RANGE)
    return int(outside)


def test_a_users_payload_keeps_the_users_own_ids(as_user: Sandbox) -> None:
    inside = as_user.dump("")
    assert (inside.uid, inside.gid) == (as_user.uid, as_user.uid)
    one = [[as_user.uid, as_user.uid, 1]]
    assert inside.maps == (one, one)


def test_roots_payload_is_nobody_of_the_hosts(as_root: Sandbox) -> None:
    inside = as_root.dump("")
    assert (inside.uid, inside.gid) == (1000, 1000)
    users, groups = inside.maps
    assert users == groups
    ((first, outside, count),) = users
    assert (first, count) == (0, RANGE)
    assert outside >= 524288
    assert outside % RANGE == 0


def test_roots_services_have_different_ids_on_the_host(as_root: Sandbox) -> None:
    assert base_of(as_root) == base_of(as_root, "[rlimits]\ncore = 0")
    other = as_root.write(
        "other.toml", f"schema = 1\nprofile.extends = '{as_root.place}/base.toml'\n"
    )
    done = as_root.program(
        [as_root.launcher, "run", "-p", other, as_root.probe, "read", "/proc/self/uid_map"]
    )
    assert str(base_of(as_root)) not in done.stdout


def test_the_payload_has_no_supplementary_groups_of_roots(as_root: Sandbox) -> None:
    inside = as_root.dump("", before=lambda: os.setgroups([0, 4, 27]))
    assert inside.status["Groups"] == ""


def test_ids_cannot_be_changed(sandbox: Sandbox) -> None:
    tries = [("setuid", 0), ("setgid", 0), ("setgroups", 0), ("setuid", 12)]
    refused = outcomes(sandbox.attempts("", *tries))
    # A map of one id knows no other: EINVAL. In a range it is a matter of capabilities.
    assert refused == ["EPERM" if sandbox.is_root else "EINVAL"] * 2 + ["EPERM", refused[0]]


def test_map_root_makes_the_caller_user_0_without_privileges(sandbox: Sandbox) -> None:
    inside = sandbox.dump("[identity]\nmap = 'root'")
    assert (inside.uid, inside.gid) == (0, 0)
    assert inside.maps == ([[0, sandbox.uid, 1]], [[0, sandbox.uid, 1]])
    assert set(inside.capabilities.values()) == {0}


def test_map_self_keeps_roots_id_in_a_user_namespace(as_root: Sandbox) -> None:
    inside = as_root.dump("[identity]\nmap = 'self'")
    assert (inside.uid, inside.maps[0]) == (0, [[0, 0, 1]])
    assert set(inside.capabilities.values()) == {0}


def test_map_host_is_for_root_alone(as_root: Sandbox) -> None:
    inside = as_root.dump("[identity]\nmap = 'host'\nuser = 12\ngroup = 34")
    assert (inside.uid, inside.gid) == (12, 34)
    assert inside.maps == as_root.dump_outside().maps


def test_map_host_is_refused_to_a_user(as_user: Sandbox) -> None:
    message = as_user.refusal("[identity]\nmap = 'host'")
    assert "identity.map: a sandbox without a user namespace can only be made by root" in message


@pytest.mark.parametrize("kind", ("auto", "root", "self"))
def test_files_of_the_payload_belong_to_its_id_on_the_host(sandbox: Sandbox, kind: str) -> None:
    text = f"[identity]\nmap = '{kind}'\n"
    ((inside, outside, _),) = sandbox.dump(text).maps[0]
    owner = outside + sandbox.dump(text).uid - inside
    directory = sandbox.mkdir("data")
    os.chown(directory, owner, owner) if os.geteuid() == 0 else None
    answer = sandbox.attempt(text + writable(directory), "open", f"{directory}/new", "wcx")
    assert answer.outcome == "ok"
    assert os.stat(f"{directory}/new").st_uid == owner


def test_a_chosen_user_is_a_number_inside_the_range(as_root: Sandbox) -> None:
    text = "[identity]\nuser = 33\ngroup = 44\n"
    inside = as_root.dump(text)
    assert (inside.uid, inside.gid) == (33, 44)
    directory = as_root.mkdir("data", 0o777)
    as_root.attempt(text + writable(directory), "open", f"{directory}/new", "wcx")
    state = os.stat(f"{directory}/new")
    first = base_of(as_root, text)
    assert (state.st_uid, state.st_gid) == (first + 33, first + 44)


def test_files_of_ids_that_are_not_mapped_are_nobodys(sandbox: Sandbox) -> None:
    text = "[filesystem]\nread = ['/etc/hostname']"
    shown = sandbox.attempt(text, "stat", "/etc/hostname").value.split()
    assert shown[:2] == ["65534", "65534"]


def test_generated_accounts_name_the_payload(sandbox: Sandbox) -> None:
    names = ("passwd", "group", "hostname", "hosts", "machine-id", "nsswitch.conf")
    text = f"""
        [namespaces]
        hostname = "inner"
        [identity]
        name = "app"
        [environment]
        set = {{ HOME = "/data" }}
        [rootfs]
        generate = {list(names)}
    """
    found = [a.value for a in sandbox.attempts(text, *(("read", f"/etc/{n}") for n in names))]
    content = dict(zip(names, found, strict=True))
    uid = sandbox.dump(text).uid
    assert f"app:x:{uid}:{uid}:app:/data:/bin/sh\n" in content["passwd"]
    assert f"app:x:{uid}:\n" in content["group"]
    assert content["hostname"] == "inner\n"
    assert "127.0.1.1 inner\n" in content["hosts"]
    assert len(content["machine-id"]) == 33
    with open("/etc/passwd", encoding="utf-8") as hosts:
        assert content["passwd"] != hosts.read()


def test_a_generated_file_covers_the_one_in_the_roots_tree(sandbox: Sandbox) -> None:
    text = "[rootfs]\ngenerate = ['passwd']\n[filesystem]\nread = ['/']"
    assert "sandbox:x:" in sandbox.attempt(text, "read", "/etc/passwd").value
    assert sandbox.attempt(text, "chmod", "/etc/passwd", "0666").outcome == "EROFS"
    with open("/etc/group", encoding="utf-8") as file:
        assert sandbox.attempt(text, "read", "/etc/group").value == file.read()


def accounts(sandbox: Sandbox) -> Step:
    """A stage in which the user has a name and subordinate ids."""
    with open("/etc/passwd", encoding="utf-8") as file:
        passwd = f"{file.read()}sbxtest:x:{sandbox.uid}:{sandbox.uid}::/:/bin/sh\n"
    ranges = f"sbxtest:700000:{RANGE}\n"
    files = {"/etc/passwd": passwd, "/etc/subuid": ranges, "/etc/subgid": ranges}
    sources = {path: sandbox.write(os.path.basename(path), text) for path, text in files.items()}

    def stage() -> None:
        for path, source in sources.items():
            mount(source, path, flags=MS_BIND)

    return stage


def test_a_users_range_is_written_by_newuidmap(as_user: Sandbox) -> None:
    if os.geteuid() != 0:
        pytest.skip(NOT_ROOT)
    if not shutil.which("newuidmap") or not os.path.exists("/etc/subuid"):
        pytest.skip("newuidmap isn't installed")
    text = "[identity]\nmap = 'range'"
    inside = as_user.dump(text, stage=accounts(as_user))
    own = as_user.uid
    assert inside.uid == own
    users, groups = inside.maps
    assert users == groups == [
        [0, 700000, own],
        [own, own, 1],
        [own + 1, 700000 + own, RANGE - own - 1],
    ]  # fmt: skip
    assert set(inside.capabilities.values()) == {0}
    directory = as_user.mkdir("data")
    answer = as_user.attempt(
        text + writable(directory), "open", f"{directory}/x", "wcx", stage=accounts(as_user)
    )
    assert answer.outcome == "ok"
    assert os.stat(f"{directory}/x").st_uid == own


def test_a_users_range_needs_subordinate_ids(as_user: Sandbox) -> None:
    message = as_user.refusal("[identity]\nmap = 'range'")
    assert "identity.map: " in message
    assert "hint: " in message
