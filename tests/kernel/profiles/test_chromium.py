"""The profile chromium: a page is rendered and looked at, inside Chromium's own sandbox within sbx's."""

import os
import re
import socket
import subprocess
from typing import Final

import pytest

from tests.applications import application
from tests.kernel.harness import Sandbox
from tests.kernel.profiles import attempts
from tests.kernel.profiles.examples import examples, run_example
from tests.kernel.profiles.pictures import read_png

SECONDS: Final = 60
RED, BLUE = (255, 0, 0), (0, 0, 255)
PAGE: Final = """\
<!DOCTYPE html><title>page</title>
<body style="margin: 0; background: #ff0000">
<div style="width: 100px; height: 100px; background: #0000ff"></div>
<p id="sum"></p><script>document.getElementById("sum").textContent = 6 * 7</script>
"""


@pytest.fixture
def source(sandbox: Sandbox) -> str:
    """A directory with page.html, closed to others, and one for the result in it."""
    application("chromium")
    source = sandbox.mkdir("in", 0o700)
    sandbox.mkdir("in/output", 0o700)
    sandbox.write("in/page.html", PAGE, 0o600)
    return source


def chromium(
    sandbox: Sandbox, source: str, *words: str, profile: str = "chromium"
) -> subprocess.CompletedProcess[str]:
    command = ("chromium", "--headless", "--log-level=3", *words)
    return sandbox.shipped(profile, *command, cwd=source, timeout=SECONDS)


def test_the_examples_render_a_page(sandbox: Sandbox, source: str) -> None:
    for command in examples("chromium"):
        done = run_example(sandbox, command, cwd=source, timeout=SECONDS)
        assert done.returncode == 0, done
    assert "<p>hello</p>" in done.stdout
    page = read_png(f"{source}/output/page.png")
    assert [page.at(10, 10), page.at(150, 10), page.at(10, 150 + 100)] == [BLUE, RED, RED]
    with open(f"{source}/output/page.pdf", "rb") as file:
        assert file.read(5) == b"%PDF-"
    assert os.stat(f"{source}/output/page.png").st_uid == sandbox.uid


def test_a_pages_script_runs(sandbox: Sandbox, source: str) -> None:
    done = chromium(sandbox, source, "--dump-dom", f"file://{source}/page.html")
    assert done.returncode == 0, done
    assert '<p id="sum">42</p>' in done.stdout


def test_chromiums_own_sandbox_is_on(sandbox: Sandbox, source: str) -> None:
    """Each renderer is in a PID namespace of its own and has one filter more than the browser."""
    # The shell's own command line holds these words too: none of its patterns matches itself.
    look = (
        "for process in /proc/[0-9]*; do"
        " tr '\\0' ' ' < $process/cmdline | grep -o -m 1 'type=[a-z][a-z]*' || echo type=none;"
        " sed -n 's/^NSpid://p; s/^Seccomp_filters://p' $process/status; done"
    )
    filters = "$(sed -n 's/^Seccomp_filters:.//p' {}/status)"
    script = (
        "chromium --headless --log-level=3 --remote-debugging-port=9222 page.html 2>/dev/null &"
        " for try in $(seq 300); do"
        " one=$(grep -ls 'type=[r]enderer' /proc/[0-9]*/cmdline | head -n 1); one=${one%/cmdline};"
        f' [ "$one" ] && [ "{filters.format("$one")}" -gt "{filters.format("/proc/self")}" ] && break;'
        f" sleep 0.1; done; {look}"
    )
    done = sandbox.shipped("chromium", "sh", "-c", script, cwd=source, timeout=SECONDS)
    found = re.findall(r"^type=(\w+)\n((?:\t\d+)+)\n\t(\d+)$", done.stdout, re.MULTILINE)
    depths = {kind: len(ids.split()) for kind, ids, _ in found}
    counts = {kind: int(count) for kind, _, count in found}
    assert depths["renderer"] > depths["none"] == 1, done.stdout
    assert counts["renderer"] > counts["none"] >= 1


def test_without_its_own_sandbox_it_needs_no_namespaces(sandbox: Sandbox, source: str) -> None:
    """What `--no-sandbox` leaves is this profile; and the rules for namespaces are what the other way needs."""
    text = (
        "schema = 1\nprofile.extends = 'chromium'\n"
        "[[seccomp.rules]]\ncall = 'unshare'\naction = 'deny'\n"
        "args = [{ index = 0, op = 'eq', value = 0x10000000 }]\n"
        "[[seccomp.rules]]\ncall = 'clone'\naction = 'deny'\n"
        "args = [{ index = 0, op = 'masked-eq', mask = 0x10000000, value = 0x10000000 }]\n"
    )
    profile = sandbox.write("alone.toml", text)
    page = ("--dump-dom", f"file://{source}/page.html")
    command = ("chromium", "--headless", *page)
    refused = sandbox.shipped(profile, *command, cwd=source, timeout=SECONDS)
    assert refused.returncode != 0
    assert "No usable sandbox!" in refused.stderr
    done = chromium(sandbox, source, "--no-sandbox", *page, profile=profile)
    assert '<p id="sum">42</p>' in done.stdout


def test_a_page_reads_no_file_beside_its_directory(sandbox: Sandbox, source: str) -> None:
    secret = sandbox.write("elsewhere/secret.txt", "a secret", 0o600)
    done = chromium(sandbox, source, "--dump-dom", f"file://{secret}")
    assert "a secret" not in done.stdout
    readable = sandbox.write("in/readable.txt", "no secret", 0o600)
    done = chromium(sandbox, source, "--dump-dom", f"file://{readable}")
    assert "no secret" in done.stdout


def test_a_page_reaches_the_network_only_where_a_profile_says_so(
    sandbox: Sandbox, source: str
) -> None:
    """The profile that the head of chromium.toml shows is the positive control."""
    text = (
        "schema = 1\n[profile]\nextends = 'chromium'\n"
        "[rootfs]\ngenerate = ['resolv.conf']\n[network]\nmode = 'host'\n"
    )
    profile = sandbox.write("online.toml", text)
    with socket.create_server(("127.0.0.1", 0)) as server:
        url = f"http://127.0.0.1:{server.getsockname()[1]}/"
        server.settimeout(SECONDS)
        done = chromium(sandbox, source, "--dump-dom", url)
        assert "hello" not in done.stdout
        server.setblocking(False)
        with pytest.raises(BlockingIOError):
            server.accept()
        server.settimeout(SECONDS)
        words = ("chromium", "--headless", "--log-level=3", "--dump-dom", url)
        with sandbox.start_shipped(profile, *words, cwd=source) as browser:
            connection, _ = server.accept()
            with connection:
                connection.recv(65536)
                answer = b"<p>hello"
                head = b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nConnection: close\r\n"
                connection.sendall(head + b"Content-Length: %d\r\n\r\n" % len(answer) + answer)
            output, _ = browser.communicate(timeout=SECONDS)
        assert b"<p>hello</p>" in output


def test_what_takes_the_browser_over_reaches_nothing(sandbox: Sandbox, source: str) -> None:
    answers = attempts.assert_refused(
        sandbox,
        "chromium",
        cwd=source,
        granted=[attempts.USER_NAMESPACE],
        unchangeable=[f"{source}/page.html"],
    )
    assert answers[attempts.MOUNT] == "EPERM"


def test_of_namespaces_only_those_of_chromium_can_be_made(sandbox: Sandbox, source: str) -> None:
    """With a user namespace comes no mount namespace, and no netlink to configure a network with."""
    tries = (
        "import ctypes, os, socket, errno\n"
        "libc = ctypes.CDLL(None, use_errno=True)\n"
        "def flags(n):\n"
        "    return errno.errorcode[ctypes.get_errno()] if libc.unshare(n) else 'ok'\n"
        "print(flags(0x10020000), flags(0x20000), flags(0x40000000), flags(0x10000000), flags(0x20000))\n"
        "try:\n    socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 0)\n"
        "except OSError as error:\n    print(errno.errorcode[error.errno])\n"
    )
    done = sandbox.shipped("chromium", "/usr/bin/python3", "-c", tries, cwd=source)
    assert done.stdout.split() == ["EPERM", "EPERM", "EPERM", "ok", "EPERM", "EPERM"], done
