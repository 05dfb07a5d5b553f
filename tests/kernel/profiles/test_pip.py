"""Profile pip: wheels and source packages into a virtual environment of the project."""

import io
import os
import tarfile
import zipfile

import pytest

from tests.kernel.profiles.projects import Home
from tests.kernel.profiles.servers import serving

REQUIREMENTS = "--no-index\n--find-links wheels\nhello\n./package\n"
PYPROJECT = '[build-system]\nrequires = []\nbuild-backend = "backend"\nbackend-path = ["."]\n'
# A source package that builds itself, with a thief on the way.
BACKEND = """\
import os, subprocess, zipfile

def build_wheel(directory, config_settings=None, metadata_directory=None):
    subprocess.run([THIEF], check=True)
    name = "made-1.0-py3-none-any.whl"
    with zipfile.ZipFile(os.path.join(directory, name), "w") as wheel:
        wheel.writestr("made.py", "WHERE = 'made inside'\\n")
        for file, text in METADATA.items():
            wheel.writestr(f"made-1.0.dist-info/{file}", text)
    return name
"""


def metadata(name: str) -> dict[str, str]:
    """The files of a wheel's metadata that pip asks for."""
    return {
        "METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n",
        "WHEEL": "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        "RECORD": "",
    }


@pytest.fixture
def python(home: Home) -> Home:
    """A project with a wheel beside it, and with a source package."""
    home.write("requirements.txt", REQUIREMENTS)
    wheel = home.write("wheels/hello-1.0-py3-none-any.whl", "")
    with zipfile.ZipFile(wheel, "w") as file:
        file.writestr("hello.py", "def main():\n    print('Hello')\n")
        for name, text in metadata("hello").items():
            file.writestr(f"hello-1.0.dist-info/{name}", text)
        entry = "[console_scripts]\nhello = hello:main\n"
        file.writestr("hello-1.0.dist-info/entry_points.txt", entry)
    values = f"THIEF = {home.thief!r}\nMETADATA = {metadata('made')!r}\n"
    home.write("package/pyproject.toml", PYPROJECT)
    home.write("package/backend.py", values + BACKEND)
    return home


def reach_an_index(home: Home) -> None:
    """A source package comes from an index; what is built of it is kept in the cache of its own."""
    caches = [home.sandbox.mkdir(f"home/.cache/{name}") for name in ("sandboxed/pip", "pip")]
    index = home.sandbox.mkdir("index/simple/made")
    with tarfile.open(os.path.join(index, "made-1.0.tar.gz"), "w:gz") as file:
        file.add(os.path.join(home.project, "package"), "made-1.0")
        information = tarfile.TarInfo("made-1.0/PKG-INFO")
        text = metadata("made")["METADATA"].encode()
        information.size = len(text)
        file.addfile(information, io.BytesIO(text))
    with serving(home.sandbox.path("index")) as url:
        options = ("--index-url", f"{url}/simple", "--force-reinstall")
        done = home.run("pip", ".venv/bin/pip", "install", *options, "made")
    assert "Successfully installed made-1.0" in done.stdout
    home.assert_thief_gets(everything=False)
    of_its_own, of_pip = map(os.listdir, caches)
    assert "wheels" in of_its_own
    assert not of_pip
    home.assert_owned(home.project, *caches)


def test_packages_are_installed_and_their_build_gets_nothing(python: Home) -> None:
    home = python
    _, install = home.run_examples("pip")
    assert "Successfully installed hello-1.0 made-1.0" in install.stdout
    assert "WARNING" not in install.stderr, install.stderr
    home.assert_thief_gets(everything=False)
    assert home.outside(".venv/bin/hello").stdout == "Hello\n"
    assert home.run("pip", ".venv/bin/hello").stdout == "Hello\n"
    script = "import made; print(made.WHERE)"
    assert home.outside(".venv/bin/python", "-c", script).stdout == "made inside\n"
    home.assert_owned()
    reach_an_index(home)
    home.outside(".venv/bin/pip", "install", "--no-index", "--force-reinstall", "./package")
    home.assert_thief_gets(everything=True)


def test_the_second_launch_needs_no_python_of_sbxs(home: Home) -> None:
    assert home.run_warm("pip", "echo", "warm").stdout == "warm\n"


def test_an_interpreter_of_pyenv_runs_and_stays_as_it_is(home: Home) -> None:
    tool = home.sandbox.write("home/.pyenv/bin/python", "#!/bin/sh\necho ran\n", 0o755)
    home.sandbox.own(os.path.dirname(tool))
    assert home.run("pip", tool).stdout == "ran\n"
    home.assert_refused("pip", network=True, unchangeable=[tool, os.path.dirname(tool)])
