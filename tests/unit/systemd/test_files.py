"""Unit files: written whole, known by their mark, and nobody else's is touched."""

import os
from pathlib import Path

import pytest

from sandbox.errors import SandboxError
from sandbox.systemd.files import directory, put, services, written
from sandbox.systemd.unit import UnitFile
from sandbox.systemd.words import MARK

ONE = UnitFile("web.service", f"{MARK} for x.\n\n[Service]\n")
TWO = UnitFile("web.socket", f"{MARK} for x.\n\n[Socket]\nService=web.service\n")


def actions(where: Path, *files: UnitFile, dry: bool = False) -> list[str]:
    return [step.action for step in put(str(where), files, dry=dry)]


def test_a_unit_is_written_once(tmp_path: Path) -> None:
    where = tmp_path / "new" / "user"
    assert actions(where, ONE, TWO) == ["written", "written"]
    before = os.stat(where / ONE.name)
    assert (before.st_mode & 0o7777, (where / ONE.name).read_text()) == (0o644, ONE.text)
    assert actions(where, ONE, TWO) == ["unchanged", "unchanged"]
    assert os.stat(where / ONE.name).st_ino == before.st_ino
    assert actions(where, ONE._replace(text=ONE.text + "#\n")) == ["written"]
    assert sorted(os.listdir(where)) == ["web.service", "web.socket"]


def test_a_dry_run_writes_nothing(tmp_path: Path) -> None:
    assert actions(tmp_path, ONE, dry=True) == ["written"]
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("kind", ("file", "link", "dangling", "directory", "fifo", "mark inside"))
def test_what_sbx_has_not_written_stays(tmp_path: Path, kind: str) -> None:
    path = tmp_path / TWO.name
    if kind == "file":
        path.write_text("[Socket]\n")
    elif kind == "mark inside":
        path.write_text(f"\n{TWO.text}")
    elif kind == "link":
        (tmp_path / "mine").write_text(TWO.text)
        path.symlink_to("mine")
    elif kind == "dangling":
        path.symlink_to("/dev/null")
    elif kind == "fifo":
        os.mkfifo(path)
    else:
        path.mkdir()
    with pytest.raises(SandboxError, match="hasn't written it"):
        put(str(tmp_path), (ONE, TWO), dry=False)
    assert not (tmp_path / ONE.name).exists()
    assert written(str(tmp_path), "web") == ()


def test_a_failed_write_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise OSError(28, "No space left on device")

    put(str(tmp_path), (ONE,), dry=False)
    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(OSError, match="No space"):
        put(str(tmp_path), (ONE._replace(text=f"{ONE.text}#\n"),), dry=False)
    assert os.listdir(tmp_path) == [ONE.name]
    assert (tmp_path / ONE.name).read_text() == ONE.text


def test_a_services_units_are_found_by_mark_and_name(tmp_path: Path) -> None:
    other = UnitFile("web-x.socket", f"{MARK} for x.\n\n[Socket]\nService=web-x.service\n")
    own = UnitFile("web-https.socket", TWO.text)
    put(str(tmp_path), (ONE, TWO, own, other), dry=False)
    (tmp_path / "webb.service").write_text("[Service]\n")
    found = [os.path.basename(path) for path in written(str(tmp_path), "web")]
    assert found == ["web.service", "web.socket", "web-https.socket"]
    assert services(str(tmp_path)) == ("web",)
    assert services(str(tmp_path / "missing")) == ()
    assert written(str(tmp_path / "missing"), "web") == ()


def test_units_lie_where_the_manager_looks() -> None:
    assert directory("system", {}) == "/etc/systemd/system"
    assert directory("user", {"HOME": "/home/u"}) == "/home/u/.config/systemd/user"
    found = directory("user", {"HOME": "/home/u", "XDG_CONFIG_HOME": "/c"})
    assert found == "/c/systemd/user"
    with pytest.raises(SandboxError, match="HOME"):
        directory("user", {})
