"""What pip makes of the tree: a wheel by way of the source archive, and an editable install."""

import glob
import os
import re
import shutil
import struct
import subprocess
import sys
import sysconfig
import zipfile
from pathlib import Path
from typing import NamedTuple

import pytest

from sandbox import __version__
from tests.applications import application

NOT_SOURCE = shutil.ignore_patterns(
    ".git",
    ".venv*",
    "build",
    "dist",
    "*.egg-info",
    "__pycache__",
    "*.so",
    ".*_cache",
    ".hypothesis",
    "results",
)
PT_INTERP = 3
COMPLETIONS = {
    "bash": "bash-completion/completions/sbx",
    "zsh": "zsh/site-functions/_sbx",
    "fish": "fish/vendor_completions.d/sbx.fish",
}


class Installed(NamedTuple):
    """An environment with sbx in it, and the tree that an editable install refers to."""

    environment: str
    profiles: str

    def program(self, name: str) -> str:
        return os.path.join(self.environment, "bin", name)


def run(*command: str, **options: object) -> subprocess.CompletedProcess[str]:
    more = {"env": {**os.environ, "SBX_WERROR": "1"}, "stdin": subprocess.DEVNULL, **options}
    done: subprocess.CompletedProcess[str] = subprocess.run(  # type: ignore[call-overload]
        command, capture_output=True, text=True, timeout=300, check=False, **more
    )
    return done


def succeed(*command: str, **options: object) -> str:
    done = run(*command, **options)
    assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
    return done.stdout


def pip(environment: str, *arguments: str) -> None:
    """pip without a network: what a build needs is what the tests' own environment has."""
    python = os.path.join(environment, "bin", "python")
    succeed(
        sys.executable,
        "-m",
        "pip",
        "--python",
        python,
        *arguments,
        "--no-deps",
        "--no-index",
        "--no-build-isolation",
        "--disable-pip-version-check",
    )


def make_environment(path: str) -> str:
    """A new environment with the packages of the tests' own, but not its sbx."""
    succeed(sys.executable, "-m", "venv", "--without-pip", path)
    (packages,) = glob.glob(os.path.join(path, "lib", "python3*", "site-packages"))
    with open(os.path.join(packages, "dependencies.pth"), "w", encoding="utf-8") as out:
        out.write(sysconfig.get_path("purelib") + "\n")
    return path


def segments(path: str) -> list[int]:
    """The types of an ELF file's program headers (elf(5)), for 64-bit machines."""
    with open(path, "rb") as file:
        content = file.read()
    assert content.startswith(b"\x7fELF\x02"), f"{path} is no 64-bit ELF file"
    (offset,) = struct.unpack_from("=Q", content, 32)
    size, count = struct.unpack_from("=HH", content, 54)
    return [struct.unpack_from("=I", content, offset + i * size)[0] for i in range(count)]


@pytest.fixture(scope="module")
def source(tree: str, tmp_path_factory: pytest.TempPathFactory) -> str:
    """A copy of the tree with a blank in its path, so that no build writes into the real one."""
    path = str(tmp_path_factory.mktemp("source") / "a tree")
    shutil.copytree(tree, path, ignore=NOT_SOURCE)
    return path


@pytest.fixture(scope="module")
def wheel(source: str, tmp_path_factory: pytest.TempPathFactory) -> str:
    """The wheel that is built from the source archive."""
    where = tmp_path_factory.mktemp("wheel")
    build = "import sys, setuptools.build_meta as backend; print(backend.build_sdist(sys.argv[1]))"
    archive = succeed(sys.executable, "-c", build, str(where), cwd=source).splitlines()[-1]
    succeed(
        sys.executable,
        "-m",
        "pip",
        "wheel",
        "--no-deps",
        "--no-index",
        "--no-build-isolation",
        "--wheel-dir",
        str(where),
        str(where / archive),
    )
    (path,) = glob.glob(str(where / "*.whl"))
    return path


@pytest.fixture(scope="module", params=["wheel", "editable"])
def installed(
    request: pytest.FixtureRequest, source: str, tmp_path_factory: pytest.TempPathFactory
) -> Installed:
    """Sbx in an environment of its own whose path has a blank in it."""
    environment = make_environment(str(tmp_path_factory.mktemp("environment") / "with sbx"))
    if request.param == "editable":
        pip(environment, "install", "-e", source)
        return Installed(environment, os.path.join(source, "profiles"))
    pip(environment, "install", request.getfixturevalue("wheel"))
    (package,) = glob.glob(os.path.join(environment, "lib", "python3*", "site-packages", "sandbox"))
    return Installed(environment, os.path.join(package, "_profiles"))


def test_one_wheel_serves_every_python_from_3_11(wheel: str) -> None:
    """The extension keeps to the limited API, and the file's name says so."""
    machine = os.uname().machine
    assert os.path.basename(wheel) == f"sbx-{__version__}-cp311-abi3-linux_{machine}.whl"
    assert "sandbox/_core.abi3.so" in zipfile.ZipFile(wheel).namelist()


def test_the_wheel_holds_what_it_should_and_nothing_else(wheel: str, tree: str) -> None:
    """Package, launcher, profiles, manual pages and licence; no tests, no C."""
    found = set(zipfile.ZipFile(wheel).namelist())
    expected = {
        f"sbx-{__version__}.data/scripts/sbx",
        "sandbox/py.typed",
        f"sbx-{__version__}.dist-info/licenses/LICENSE",
    }
    expected |= {
        f"sandbox/_profiles/{name}" for name in profile_names(os.path.join(tree, "profiles"))
    }
    for page in glob.glob(os.path.join(tree, "docs", "man", "*.[1-8]")):
        expected.add(
            f"sbx-{__version__}.data/data/share/man/man{page[-1]}/{os.path.basename(page)}"
        )
    for place in COMPLETIONS.values():
        expected.add(f"sbx-{__version__}.data/data/share/{place}")
    for manager in ("system", "user"):
        expected.add(f"sbx-{__version__}.data/data/lib/systemd/{manager}/sbx@.service")
    assert expected <= found
    assert {name.split("/")[0] for name in found} == {
        "sandbox",
        f"sbx-{__version__}.data",
        f"sbx-{__version__}.dist-info",
    }
    assert not [name for name in found if name.endswith((".c", ".h", ".pyc"))]


def profile_names(directory: str) -> list[str]:
    names = sorted(name for name in os.listdir(directory) if name.endswith(".toml"))
    assert "minimal.toml" in names
    return names


def test_the_installed_sbx_is_a_native_program(installed: Installed) -> None:
    """Pip installs the launcher as it was built, executable, and static unless no libc allows it."""
    assert PT_INTERP not in segments(installed.program("sbx"))
    assert os.access(installed.program("sbx"), os.X_OK)


@pytest.mark.parametrize("program", ("sbx", "sbx-python"))
def test_the_installed_sbx_finds_its_python(installed: Installed, program: str) -> None:
    """Both programs answer from any directory, with no PATH, and with a hostile one of Python's."""
    env = {"PYTHONPATH": "/nonexistent", "PYTHONHOME": "/nonexistent"} if program == "sbx" else {}
    assert (
        succeed(installed.program(program), "--version", cwd="/", env=env) == f"sbx {__version__}\n"
    )


def test_the_library_finds_its_server(installed: Installed) -> None:
    """A program that uses sbx from its environment, with no PATH, runs a sandbox."""
    ask = "from sandbox import Sandbox; print(Sandbox('minimal').run(['echo', 'in'], text=True).stdout)"
    assert succeed(installed.program("python"), "-I", "-c", ask, cwd="/", env={}) == "in\n\n"


def test_sbx_works_through_a_symbolic_link(installed: Installed, tmp_path: Path) -> None:
    """As pipx installs programs: a link from a directory in PATH into the environment."""
    link = os.path.join(tmp_path, "sbx")
    os.symlink(installed.program("sbx"), link)
    assert succeed(link, "--version", cwd="/", env={}) == f"sbx {__version__}\n"


def test_the_package_finds_its_own_profiles(installed: Installed, tree: str) -> None:
    """A wheel brings the profiles along; an editable install uses those of the tree."""
    ask = "from sandbox._paths import profiles_dir; print(profiles_dir())"
    found = succeed(installed.program("python"), "-I", "-c", ask, cwd="/").rstrip("\n")
    assert os.path.realpath(found) == os.path.realpath(installed.profiles)
    assert profile_names(found) == profile_names(os.path.join(tree, "profiles"))


def test_an_installed_sbx_runs_a_shipped_profile(installed: Installed, tmp_path: Path) -> None:
    """Launcher, Python side, extension and profiles fit together, first cold and then warm."""
    env = {"HOME": str(tmp_path), "XDG_CACHE_HOME": str(tmp_path / "cache")}
    for _ in ("cold", "warm"):
        command = [installed.program("sbx"), "run", "--profile", "minimal", "--", "/bin/echo", "hi"]
        assert succeed(*command, cwd="/", env=env) == "hi\n"


@pytest.fixture(scope="module")
def from_wheel(wheel: str, tmp_path_factory: pytest.TempPathFactory) -> str:
    """An environment into which the wheel was installed."""
    environment = make_environment(str(tmp_path_factory.mktemp("wheel environment") / "sbx"))
    pip(environment, "install", wheel)
    return environment


@pytest.mark.parametrize("shell", COMPLETIONS)
def test_a_wheel_brings_what_shells_complete_with(from_wheel: str, shell: str) -> None:
    """The same that the installed sbx prints."""
    with open(os.path.join(from_wheel, "share", COMPLETIONS[shell]), encoding="utf-8") as file:
        assert file.read() == succeed(f"{from_wheel}/bin/sbx", "completion", shell, cwd="/", env={})


@pytest.mark.parametrize("page", ("sbx.1", "sbx.toml.5"))
def test_a_wheel_brings_manual_pages_that_man_finds(from_wheel: str, page: str) -> None:
    """`man sbx` works where the environment's programs are in PATH, and the page can be rendered."""
    name, _, section = page.rpartition(".")
    path = f"{from_wheel}/share/man/man{section}/{page}"
    man = application("man")
    env = {"PATH": f"{from_wheel}/bin:/usr/bin:/bin", "HOME": "/nonexistent", "LANG": "C.UTF-8"}
    assert succeed(man, "-w", section, name, cwd="/", env=env) == f"{path}\n"
    shown = succeed("mandoc", "-T", "utf8", "-W", "warning,stop", path, env=env)
    plain = re.sub(r".\x08", "", shown)
    assert f"{name.upper()}({section})" in plain
    assert "SYNOPSIS" in plain or "DESCRIPTION" in plain


def test_the_launcher_alone_says_what_is_missing(installed: Installed, tmp_path: Path) -> None:
    """Copied away from the Python that it belongs to, sbx has an error with a remedy."""
    alone = shutil.copy(installed.program("sbx"), str(tmp_path))
    done = run(alone, "--version", env={})
    assert done.returncode == 125
    assert done.stderr.startswith("sbx: error: ")
    assert "\nhint: " in done.stderr


@pytest.mark.parametrize(("way", "static"), (("musl", True), ("static", True), ("dynamic", False)))
def test_the_launcher_can_be_linked_in_every_way(
    source: str, tmp_path: Path, way: str, static: bool
) -> None:
    """SBX_LIBC insists on one way, and what comes out is linked that way."""
    if way == "musl" and shutil.which("musl-gcc") is None:
        pytest.skip("musl-gcc is not installed")
    env = {**os.environ, "SBX_LIBC": way, "SBX_WERROR": "1"}
    succeed(
        sys.executable,
        "setup.py",
        "-q",
        "build_scripts",
        "--build-dir",
        str(tmp_path),
        cwd=source,
        env=env,
    )
    launcher = os.path.join(tmp_path, "sbx")
    assert (PT_INTERP not in segments(launcher)) == static
    assert run(launcher, "--version", env={}).returncode == 125


def test_a_machine_without_a_compiler_is_told_which_packages_to_install(
    source: str, tmp_path: Path
) -> None:
    """The build's error names the packages of three distributions."""
    env = {"PATH": str(tmp_path), "CC": "no-such-compiler"}
    done = run(
        sys.executable,
        "setup.py",
        "-q",
        "build_scripts",
        "--build-dir",
        str(tmp_path),
        cwd=source,
        env=env,
    )
    assert done.returncode != 0
    assert "no C compiler here can build the launcher" in done.stderr
    for manager in ("apt: gcc", "dnf: gcc", "pacman: gcc"):
        assert manager in done.stderr
