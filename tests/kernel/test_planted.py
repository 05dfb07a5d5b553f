"""What a run leaves where it may write doesn't lead the next launch elsewhere."""

import os

import pytest

from tests.kernel.harness import Sandbox
from tests.kernel.pieces import bind, own_for_payload, writable

SECRET = "what the payload isn't to see"


@pytest.fixture
def outside(sandbox: Sandbox) -> str:
    """A directory of the host's that the payload isn't shown."""
    outside = sandbox.mkdir("outside")
    sandbox.write("outside/file", SECRET)
    return outside


@pytest.fixture
def data(sandbox: Sandbox) -> str:
    """One that the payload may write to."""
    data = sandbox.mkdir("data")
    own_for_payload(sandbox, data)
    return data


def test_a_secrets_file_is_not_read_through_a_link(
    sandbox: Sandbox, outside: str, data: str
) -> None:
    secret, key = '[secrets]\nkey = { file = "%s" }\n', f"{data}/key"
    text = writable(data) + secret % key
    sandbox.write("data/key", "the key")
    own_for_payload(sandbox, key)
    assert sandbox.attempt(text, "read", "/run/secrets/key").value == "the key"
    assert sandbox.attempt(text, "unlink", key).outcome == "ok"
    plant = ("symlink", f"{outside}/file", key)
    assert sandbox.attempt(writable(data), *plant).outcome == "ok"
    said = sandbox.refusal(text, sandbox.probe, "read", "/run/secrets/key")
    assert f"{key} is a symbolic link, in a directory that the payload may write to" in said
    # The control: what the payload may not write to is the host's, and its links are followed.
    assert sandbox.attempt(secret % key, "read", "/run/secrets/key").value == SECRET


@pytest.mark.parametrize("written", ("alias", "data"))
def test_a_directory_with_two_names_is_the_payloads_by_both(
    sandbox: Sandbox, outside: str, data: str, written: str
) -> None:
    alias = sandbox.path("alias")
    os.symlink(data, alias)
    write, name = (alias, data) if written == "alias" else (data, alias)
    text = bind(write, "/there", "writable = true")
    again = text + bind(f"{name}/part", "/shown", "optional = true")
    assert sandbox.attempt(again, "symlink", outside, "/there/part").outcome == "ok"
    said = sandbox.refusal(again, sandbox.probe, "read", "/shown/file")
    assert "a symbolic link, in a directory that the payload may write to" in said
    assert sandbox.attempt(bind(f"{name}/part", "/shown"), "read", "/shown/file").value == SECRET


def test_a_link_of_the_owners_into_it_still_leads_there(sandbox: Sandbox, data: str) -> None:
    sandbox.write("data/conf", "its own")
    link = sandbox.path("link")
    os.symlink(f"{data}/conf", link)
    text = writable(data) + bind(link, "/shown")
    assert sandbox.attempt(text, "read", "/shown").value == "its own"


def test_no_overlay_has_a_layer_there(sandbox: Sandbox, data: str) -> None:
    overlay = f"[[mounts]]\ntype = 'overlay'\ntarget = '/o'\nlower = ['{data}/lower']\n"
    said = sandbox.refusal(writable(data) + overlay, sandbox.probe)
    assert f"'{data}/lower' lies in '{data}', which the payload may write to" in said
