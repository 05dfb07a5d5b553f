"""The profile ffmpeg: a clip is encoded, decoded and looked at, and media can't do anything else."""

import os
import socket
import subprocess

import pytest

from tests.applications import application
from tests.kernel.harness import Sandbox
from tests.kernel.profiles.examples import examples, run_example
from tests.kernel.profiles.pictures import picture

QUIET = ("ffmpeg", "-hide_banner", "-loglevel", "error", "-nostdin", "-y")
WIDTH, HEIGHT, FRAMES = 128, 96, 10
# The left half red, the right half blue.
HALVES = (
    f"color=red:size={WIDTH}x{HEIGHT}:rate=10:duration=1,"
    f"drawbox=x={WIDTH // 2}:y=0:w={WIDTH // 2}:h={HEIGHT}:color=blue:t=fill"
)


@pytest.fixture
def source(sandbox: Sandbox) -> str:
    """A directory with clip.mkv (a second of picture and sound), and one for the result in it."""
    application("ffmpeg")
    source = sandbox.mkdir("in", 0o700)
    sandbox.mkdir("in/output", 0o700)
    make = [*QUIET, "-f", "lavfi", "-i", HALVES, "-f", "lavfi", "-i", "sine=duration=1"]
    done = sandbox.program([*make, "-c:v", "ffv1", "-c:a", "flac", f"{source}/clip.mkv"])
    assert (done.returncode, done.stderr) == (0, "")
    return source


def ffmpeg(sandbox: Sandbox, source: str, *words: str) -> subprocess.CompletedProcess[str]:
    return sandbox.shipped("ffmpeg", *QUIET, *words, cwd=source)


def assert_two_halves(path: str) -> None:
    """Decodes all frames outside, and looks at the middle of both halves of the last one."""
    decode = [*QUIET, "-i", path, "-f", "rawvideo", "-pix_fmt", "rgb24", "-"]
    frames = subprocess.run(decode, capture_output=True, check=True).stdout
    size = 3 * WIDTH * HEIGHT
    assert len(frames) == FRAMES * size
    last = picture(WIDTH, HEIGHT, frames[-size:])
    red, _, blue = last.at(WIDTH // 4, HEIGHT // 2)
    assert (red > 200, blue < 60) == (True, True)
    red, _, blue = last.at(3 * WIDTH // 4, HEIGHT // 2)
    assert (red < 60, blue > 200) == (True, True)


def test_the_examples_encode_a_clip(sandbox: Sandbox, source: str) -> None:
    places = {"/srv/in": source, "/srv/out": sandbox.mkdir("out", 0o700)}
    for command in examples("ffmpeg"):
        done = run_example(sandbox, command, places=places, cwd=source)
        assert done.returncode == 0, done
    assert f"width={WIDTH}" in done.stdout.splitlines()
    for path in (f"{source}/output/clip.mp4", f"{places['/srv/out']}/clip.webm"):
        assert_two_halves(path)
        assert os.stat(path).st_uid == sandbox.uid


@pytest.mark.parametrize(
    "encoder", ("libx264", "libx265", "libvpx-vp9", "libsvtav1", "mpeg4", "mjpeg")
)
def test_encoders_work_with_their_threads(as_user: Sandbox, encoder: str) -> None:
    application("ffmpeg")
    known = subprocess.run([*QUIET, "-encoders"], capture_output=True, text=True, check=True)
    if f" {encoder} " not in known.stdout:
        pytest.skip(f"this ffmpeg has no {encoder}")
    source = as_user.mkdir("in")
    as_user.mkdir("in/output")
    words = ("-f", "lavfi", "-i", HALVES, "-c:v", encoder, "-threads", "2", "output/clip.mkv")
    done = ffmpeg(as_user, source, *words)
    assert done.returncode == 0, done
    assert "No thread pool" not in done.stderr
    assert_two_halves(f"{source}/output/clip.mkv")


def test_text_is_drawn_with_the_hosts_fonts(sandbox: Sandbox, source: str) -> None:
    """Also where fontconfig has to make its cache first."""
    text = "schema = 1\nprofile.extends = 'ffmpeg'\nfilesystem.mask = ['/var/cache/fontconfig']\n"
    profile = sandbox.write("anew.toml", text)
    words = ("-i", "clip.mkv", "-vf", "drawtext=text=XXXX:fontsize=40:fontcolor=white")
    done = sandbox.shipped(
        profile, *QUIET, *words, "-frames:v", "1", "output/frame.ppm", cwd=source
    )
    assert (done.returncode, done.stderr) == (0, "")
    with open(f"{source}/output/frame.ppm", "rb") as file:
        assert b"\xff\xff\xff" in file.read()


def test_no_other_file_can_be_opened_as_media(sandbox: Sandbox, source: str) -> None:
    key = sandbox.write("elsewhere/key", "a private key\n", 0o600)
    copy = ("-f", "data", "-i", key, "-map", "0", "-f", "data")
    outside = sandbox.program([*QUIET, *copy, "output/key"], cwd=source)
    assert outside.returncode == 0, outside
    os.remove(f"{source}/output/key")
    inside = ffmpeg(sandbox, source, *copy, "output/key")
    assert inside.returncode != 0
    assert key in inside.stderr
    assert "No such file or directory" in inside.stderr


def test_nothing_is_written_beside_the_result(sandbox: Sandbox, source: str) -> None:
    place = sandbox.mkdir("elsewhere", 0o777)
    for target in (f"{source}/copy.mkv", f"{place}/copy.mkv"):
        copy = ("-i", "clip.mkv", "-c", "copy", target)
        assert sandbox.program([*QUIET, *copy], cwd=source).returncode == 0
        os.remove(target)
        done = ffmpeg(sandbox, source, *copy)
        assert done.returncode != 0
        assert "Read-only file system" in done.stderr or "No such file" in done.stderr
        assert not os.path.exists(target)


@pytest.mark.parametrize("scheme", ("tcp", "unix"))
def test_a_playlist_cannot_make_it_call_somebody(
    sandbox: Sandbox, source: str, scheme: str
) -> None:
    family = socket.AF_INET if scheme == "tcp" else socket.AF_UNIX
    path = sandbox.path("listener")
    with socket.socket(family) as listener:
        listener.bind(("127.0.0.1", 0) if scheme == "tcp" else path)
        if scheme == "unix":
            os.chmod(path, 0o777)
        listener.listen()
        listener.settimeout(5)
        where = (
            f"tcp://127.0.0.1:{listener.getsockname()[1]}" if scheme == "tcp" else f"unix:{path}"
        )
        send = ("-i", "clip.mkv", "-c", "copy", "-f", "matroska", where)
        assert ffmpeg(sandbox, source, *send).returncode != 0
        listener.setblocking(False)
        with pytest.raises(BlockingIOError):
            listener.accept()
        listener.settimeout(5)
        with sandbox.popen([*QUIET, *send], cwd=source) as control:
            listener.accept()[0].close()
            control.kill()


def test_a_decoder_that_is_taken_over_can_start_no_program(sandbox: Sandbox, source: str) -> None:
    """The filter leaves no call to wait for a child, and none to change who owns a file."""
    done = sandbox.shipped("ffmpeg", "sh", "-c", "ls; echo started", cwd=source)
    assert "started" not in done.stdout
    assert "Cannot fork" in done.stderr
    for words in (("chown", "0", "output"), ("ln", "-s", "x", "output/y"), ("kill", "-9", "1")):
        program = ("setsid", *words) if words[0] == "kill" else words
        done = sandbox.shipped("ffmpeg", *program, cwd=source)
        assert "Operation not permitted" in done.stderr, done


def test_a_file_that_grows_too_large_ends_it(sandbox: Sandbox, source: str) -> None:
    words = ("-i", "clip.mkv", "-c:v", "rawvideo", "-an", "output/large.nut")
    done = sandbox.shipped("ffmpeg", *QUIET, *words, variables={"file_size": "8K"}, cwd=source)
    assert done.returncode == 128 + 25, done
    assert os.stat(f"{source}/output/large.nut").st_size <= 8192
