"""Profiles in code mean what the same profiles in TOML mean, and their errors say the same."""

import inspect
import os
import tomllib
from dataclasses import replace
from pathlib import Path

import pytest

from sandbox import Profile, ProfileError
from sandbox.plan.compile import compile as compile_plan
from sandbox.plan.ops import Identify
from sandbox.profile.model import About, Filesystem, Mount, Rlimits, Tmpfs
from sandbox.profile.model import Profile as Model
from tests.plans import ROOT, ops_of

TEXT = """\
schema = 1
[profile]
name = "same"
extends = ["minimal"]
optional = ["landlock.scopes"]
[vars]
data = "/srv/data"
[process]
command = ["sort", "-u"]
[environment]
pass = ["LANG"]
set = { A = "b" }
[filesystem]
read = ["${data}", "/etc/hosts"]
tmpfs = [{ path = "/work", size = "1M" }]
[[mounts]]
type = "tmpfs"
target = "/data"
[rlimits]
as = "1G"
nofile = [64, 128]
"""


def in_code() -> Profile:
    return Profile(
        name="same",
        extends=["minimal"],
        optional={"landlock.scopes"},
        vars={"data": "/srv/data"},
        process={"command": ("sort", "-u"), "cwd": None},
        environment={"pass": ["LANG"], "set": {"A": "b"}},
        filesystem={
            "read": {"${data}", Path("/etc/hosts")},
            "tmpfs": (item for item in ({"path": "/work", "size": "1M"},)),
        },
        mounts=[{"type": "tmpfs", "target": "/data"}],
        rlimits={"as": "1G", "nofile": (64, 128)},
    )


def test_code_text_and_tables_mean_the_same() -> None:
    assert in_code().model == Profile.from_toml(TEXT).model
    assert in_code().model == Profile.from_dict(tomllib.loads(TEXT)).model


def test_structs_state_what_differs_from_their_defaults() -> None:
    profile = Profile(
        extends="minimal",
        filesystem=Filesystem(read=("/etc/hosts",), tmpfs=(Tmpfs(path="/work", size="1M"),)),
        mounts=[Mount(type="tmpfs", target="/data")],
        rlimits=Rlimits(as_="1G"),
    )
    plain = Profile(
        extends="minimal",
        filesystem={"read": ["/etc/hosts"], "tmpfs": [{"path": "/work", "size": "1M"}]},
        mounts=[{"type": "tmpfs", "target": "/data"}],
        rlimits={"as": "1G"},
    )
    assert profile.model == plain.model
    assert "/usr" in profile.model.filesystem.execute  # the base's, not an empty default


def test_every_table_of_the_model_is_an_argument() -> None:
    """Those of [profile] are arguments by themselves."""
    arguments = set(inspect.signature(Profile).parameters)
    tables = set(Model.__struct_fields__) - {"schema", "profile"}
    assert arguments == tables | set(About.__struct_fields__) | {"directory"}


def test_errors_name_the_place_in_code() -> None:
    with pytest.raises(ProfileError) as caught:
        Profile(name="job", filesystem={"raed": ["/x"], "read": ["x", 3]}, network={"mode": "all"})
    assert caught.value.lines() == [
        "profile in code 'job': filesystem.raed: there is no such key",
        "hint: did you mean 'read'?",
        "profile in code 'job': filesystem.read[0]: 'x' isn't an absolute path",
        "hint: did you mean '/x'? or start it with ${profile_dir} or ${cwd}",
        "profile in code 'job': filesystem.read[1]: expected text in quotes, not a number",
        "profile in code 'job': network.mode: 'all' isn't 'none' or 'host'",
    ]


@pytest.mark.parametrize(
    ("value", "words"),
    ((b"0022", "bytes"), (3.5, "a number with a fraction"), (object(), "object")),
)
def test_what_no_profile_holds_is_named(value: object, words: str) -> None:
    with pytest.raises(ProfileError, match=f"process.umask: expected text in quotes, not {words}"):
        Profile(process={"umask": value})


def test_errors_in_text_have_a_line() -> None:
    with pytest.raises(ProfileError, match=r"profile text:3: filesystem.read\[0\]"):
        Profile.from_toml('schema = 1\n[filesystem]\nread = ["x"]\n')
    with pytest.raises(ProfileError, match="profile text:1: not TOML"):
        Profile.from_toml("schema =\n")


def test_what_nests_too_deeply_is_refused() -> None:
    table: dict[str, object] = {}
    for _ in range(100):
        table = {"x": table}
    with pytest.raises(ProfileError, match="nested too deeply"):
        Profile(filesystem=table)


def test_a_text_that_is_too_long_is_refused() -> None:
    with pytest.raises(ProfileError, match="a profile may have"):
        Profile.from_toml("#" * (1 << 20 | 1))


def test_derived_profiles_unite_what_they_say() -> None:
    base = Profile(name="base", extends="minimal", filesystem={"read": ["/etc/hosts"]})
    second = Profile(filesystem={"read": ["/etc/group"]})
    both = Profile(extends=[base, second], filesystem={"deny": ["/etc/hosts"]})
    assert set(both.model.filesystem.read) == {"/etc/hosts", "/etc/group"}
    assert both.model.filesystem.deny == ("/etc/hosts",)
    again = both.derive(name="again")
    assert again.model.filesystem == both.model.filesystem
    assert repr(again) == "<Profile 'again'>"


def test_bases_that_disagree_are_an_error_that_names_both() -> None:
    first = Profile(name="first", network={"mode": "none"})
    second = Profile(name="second", network={"mode": "host"})
    with pytest.raises(ProfileError, match="profile in code 'second' says otherwise"):
        Profile(extends=[first, second])


def test_what_a_base_seals_can_only_be_narrowed() -> None:
    base = Profile(name="base", sealed=["network"], network={"mode": "none"})
    with pytest.raises(ProfileError, match="profile in code 'base' seals network"):
        base.derive(network={"mode": "host"})


def test_a_file_can_be_a_base_from_anywhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = 'schema = 1\n[vars]\ndata = "${profile_dir}"\n[filesystem]\nread = ["${data}"]\n'
    (tmp_path / "app.toml").write_text(text)
    monkeypatch.chdir(tmp_path)
    for named in ("app.toml", Path("app.toml"), tmp_path / "app.toml"):
        base = Profile.load(named)
        monkeypatch.chdir("/")
        assert base.derive(name="x").model.filesystem.read == (str(tmp_path),)
        monkeypatch.chdir(tmp_path)


def test_values_of_variables_stay_with_what_is_derived(tmp_path: Path) -> None:
    path = tmp_path / "app.toml"
    path.write_text('schema = 1\nvars.data = "/a"\nfilesystem.read = ["${data}"]\n')
    base = Profile.load(path, vars={"data": "/b"})
    assert base.model.filesystem.read == ("/b",)
    assert base.derive(name="x").derive(name="y").model.filesystem.read == ("/b",)
    with pytest.raises(ProfileError, match="no variable 'dta'"):
        Profile.load(path, vars={"dta": "/b"})


def test_a_name_without_a_slash_is_a_shipped_profile_and_a_path_object_a_file() -> None:
    assert Profile.load("minimal").model.profile.name == "minimal"
    with pytest.raises(ProfileError, match="cannot be read"):
        Profile.load(Path("minimal"))


def test_relative_things_start_at_the_directory(tmp_path: Path) -> None:
    (tmp_path / "base.toml").write_text('schema = 1\nfilesystem.read = ["/etc/hosts"]\n')
    profile = Profile(
        extends="./base.toml", filesystem={"write": ["${profile_dir}/out"]}, directory=tmp_path
    )
    assert profile.model.filesystem.read == ("/etc/hosts",)
    assert profile.model.filesystem.write == (f"{tmp_path}/out",)
    here = Profile(filesystem={"write": ["${profile_dir}/out"]})
    assert here.model.filesystem.write == (f"{os.getcwd()}/out",)


def test_a_long_chain_of_profiles_is_refused() -> None:
    def derive(profile: Profile, times: int) -> Profile:
        return derive(profile.derive(), times - 1) if times else profile

    assert derive(Profile(), 15).model.filesystem == Profile().model.filesystem
    with pytest.raises(ProfileError, match="levels of profiles"):
        derive(Profile(), 16)


def test_schema_is_checked_in_tables() -> None:
    with pytest.raises(ProfileError, match="'schema' is missing"):
        Profile.from_dict({"filesystem": {}})


def test_one_that_builds_on_no_file_is_known_by_its_own_name() -> None:
    host = replace(ROOT, cwd=os.getcwd())
    for profile, known in (
        (Profile(seccomp={"allow": ["@program"]}), "profile in code"),
        (Profile(name="mine", seccomp={"allow": ["@program"]}), "profile in code 'mine'"),
        (Profile(name="mine", extends=["minimal"]), "profile in code 'mine'"),
    ):
        plan = compile_plan(profile._state.resolved, host)
        assert [op.profile for op in ops_of(plan, Identify)] == [known]
