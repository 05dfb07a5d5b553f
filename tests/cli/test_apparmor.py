"""The profile for AppArmor: its form, the paths that it names, and what the parser makes of it."""

import dataclasses
import os
import re
import subprocess

import pytest

from sandbox.doctor import apparmor, diagnosis
from sandbox.host import probe
from tests.applications import application
from tests.conftest import Sbx

# Statements of AppArmor 4.0, which the parser of Debian 12 (3.0) doesn't know.
NEWER = re.compile(r"(?m)^abi <abi/4\.0>,$|^  userns,$")


def parse(text: str, *options: str) -> "subprocess.CompletedProcess[str]":
    """Let the parser read a profile; nothing is loaded and no cache is touched."""
    parser = application("apparmor_parser")
    version = subprocess.run([parser, "--version"], capture_output=True, text=True, check=True)
    major = int(re.search(r"version (\d+)", version.stdout)[1])  # type: ignore[index]
    return subprocess.run(
        [parser, "--skip-kernel-load", "--skip-cache", "--skip-read-cache", *options],
        input=text if major >= 4 else NEWER.sub("", text),
        capture_output=True,
        text=True,
        check=False,
    )


def attached(text: str) -> str:
    """The paths that the parser attaches a profile to, with its escapes taken out."""
    shown = parse(text, "--dump=expr-tree")
    assert shown.returncode == 0, shown.stderr
    (line,) = re.findall(r"(?m)^(/.*)< 0x1>$", shown.stderr)
    return re.sub(r"\\(.)", r"\1", line)


def test_it_is_printed_for_the_installed_sbx(sbx: Sbx) -> None:
    done = sbx("doctor", "--apparmor-profile")
    assert (done.returncode, done.stderr) == (0, "")
    directory = os.path.dirname(os.path.realpath(sbx.path))
    assert f'profile sbx "{directory}/{{sbx,sbx-python}}" flags=(unconfined) {{\n  userns,\n' in (
        done.stdout
    )
    assert len(NEWER.findall(done.stdout)) == 2
    for name in ("sbx", "sbx-python"):
        assert os.path.exists(os.path.join(directory, name))


def test_the_parser_reads_it(sbx: Sbx) -> None:
    text = sbx("doctor", "--apparmor-profile").stdout
    directory = os.path.dirname(os.path.realpath(sbx.path))
    assert attached(text) == f"{directory}/sbx(-python|[])"
    broken = parse(text.replace("{sbx", "{{sbx"))
    assert broken.returncode != 0


@pytest.mark.parametrize(
    "directory", ("/opt/a b", "/opt/a*b", "/opt/[x]?", '/opt/"q"', "/opt/a,{b}", "/opt/a^b\\c")
)
def test_an_odd_path_means_itself(directory: str) -> None:
    """No character of a path is a glob of AppArmor's."""
    assert attached(apparmor.profile_text(f"{directory}/sbx")) == f"{directory}/sbx(-python|[])"


def test_a_link_is_followed_to_what_apparmor_sees(tmp_path: os.PathLike[str]) -> None:
    real, link = os.path.join(tmp_path, "real"), os.path.join(tmp_path, "link")
    os.mkdir(real)
    os.symlink(real, link)
    assert f'"{os.path.realpath(real)}/{{' in apparmor.profile_text(f"{link}/sbx")


def test_the_commands_quote_the_launcher() -> None:
    first, second = apparmor.commands("/opt/a b/sbx", "sudo ")
    assert first == "'/opt/a b/sbx' doctor --apparmor-profile | sudo tee /etc/apparmor.d/sbx"
    assert second == "sudo apparmor_parser -r /etc/apparmor.d/sbx"


def test_a_host_that_restricts_is_told_of_the_profile() -> None:
    host = dataclasses.replace(probe(), apparmor_restricts_userns=True)
    check = diagnosis._apparmor(host)
    if apparmor.current() in {"", "unconfined"}:
        assert check.state == "missing"
        assert check.commands
    assert not check.required
