"""Builds what a wheel of sbx carries beside its Python modules.

- `sandbox/_core.abi3.so`: the C core behind cffi, against the limited API of Python 3.11.
- `sbx`: the native launcher, static where a C library allows it (musl starts about 0.4 ms faster
  than static glibc), in the scripts directory.
- `sandbox/_profiles`: the shipped profiles; an editable install reads them from `profiles/`.
- `share/man`: the manual pages.
- `lib/systemd`: the template sbx@.service, for the system's manager and for users'.
- `share/bash-completion`, `share/zsh`, `share/fish`: what shells complete sbx with, as
  `sbx completion` prints it.

Settings: `CC`; `SBX_LIBC=musl|static|dynamic` to insist on one way to link the launcher;
`SBX_WERROR=1` to make the compiler's warnings errors.
"""

import glob
import os
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from typing import NamedTuple

from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext
from setuptools.command.build_py import build_py
from setuptools.errors import CompileError, SetupError

from distutils.command.build_scripts import build_scripts  # isort: skip - setuptools provides it
from distutils.command.install_data import install_data  # isort: skip

LAUNCHER = "csrc/launcher.c"
CORE_SOURCES = sorted(set(glob.glob("csrc/*.c")) - {LAUNCHER} - set(glob.glob("csrc/trace*.c")))
HEADERS = sorted(glob.glob("csrc/*.h"))
LIMITED_API = ("cp311", "0x030B0000")

COMPILE_FLAGS = [
    "-std=gnu17",
    "-D_GNU_SOURCE",
    "-O2",
    "-Wall",
    "-Wextra",
    "-fstack-protector-strong",
    "-U_FORTIFY_SOURCE",
    "-D_FORTIFY_SOURCE=2",
    "-fvisibility=hidden",
]
LINK_FLAGS = ["-Wl,-z,relro", "-Wl,-z,now", "-Wl,-z,noexecstack"]
# A static program that isn't position-independent starts soonest: it has nothing to relocate.
STATIC_FLAGS = ["-fno-pie", "-no-pie", "-static"]

# Where each shell looks below /usr and /usr/local.
COMPLETIONS = {
    "bash": ("share/bash-completion/completions", "sbx"),
    "zsh": ("share/zsh/site-functions", "_sbx"),
    "fish": ("share/fish/vendor_completions.d", "sbx.fish"),
}

PROBE = """
#include <linux/landlock.h>
#include <stdio.h>
int main(void) { return puts("") == EOF; }
"""


class Toolchain(NamedTuple):
    """One way to make the launcher."""

    name: str
    words: str
    compiler: list[str]
    flags: list[str]

    def build(self, sources: list[str], output: str, extra: list[str]) -> list[str]:
        return [
            *self.compiler,
            *COMPILE_FLAGS,
            *extra,
            *self.flags,
            *LINK_FLAGS,
            "-o",
            output,
            *sources,
        ]


def compile_flags(version: str) -> list[str]:
    flags = ["-Icsrc", f'-DSBX_VERSION="{version}"']
    if os.environ.get("SBX_WERROR") == "1":
        flags.append("-Werror")
    return flags


def kernel_headers(compiler: list[str], where: str) -> str:
    """A directory with the kernel's headers and nothing of glibc's, for a musl compiler."""
    found = subprocess.run(
        [*compiler, "-print-multiarch"], capture_output=True, text=True, check=False
    )
    multiarch = found.stdout.strip()
    os.makedirs(where, exist_ok=True)
    for name in ("linux", "asm-generic", "asm"):
        for base in (f"/usr/include/{multiarch}", "/usr/include"):
            target, link = os.path.join(base, name), os.path.join(where, name)
            if os.path.isdir(target) and not os.path.lexists(link):
                os.symlink(target, link)
    return where


def toolchains(scratch: str) -> list[Toolchain]:
    cc = shlex.split(os.environ.get("CC") or "cc")
    musl = ["musl-gcc"]
    ways = [
        Toolchain("static", "static, the C library of this system", cc, STATIC_FLAGS),
        Toolchain("dynamic", "dynamic: it starts slower than a static one", cc, ["-fPIE", "-pie"]),
    ]
    if shutil.which(musl[0]):
        headers = kernel_headers(musl, os.path.join(scratch, "kernel-headers"))
        ways.insert(
            0, Toolchain("musl", "static, musl", musl, [*STATIC_FLAGS, "-idirafter", headers])
        )
    return ways


def choose_toolchain(scratch: str) -> Toolchain:
    """The first way that can build a small program; the launcher's own errors then are its own."""
    ways = toolchains(scratch)
    wanted = os.environ.get("SBX_LIBC")
    if wanted:
        ways = [way for way in ways if way.name == wanted]
    probe = os.path.join(scratch, "probe.c")
    with open(probe, "w", encoding="ascii") as out:
        out.write(PROBE)
    failures = []
    for way in ways:
        command = way.build([probe], os.path.join(scratch, "probe"), [])
        try:
            done = subprocess.run(command, capture_output=True, text=True, check=False)
        except FileNotFoundError as error:
            failures.append(f"{way.name}: {error}")
            continue
        if done.returncode == 0:
            return way
        failures.append(f"{way.name}: {shlex.join(command)}\n{done.stderr}")
    raise SetupError(
        "no C compiler here can build the launcher"
        + (f" with SBX_LIBC={wanted}" if wanted else "")
        + "\nhint: install gcc and the headers of the C library and the kernel"
        + " (apt: gcc libc6-dev linux-libc-dev musl-tools; dnf: gcc glibc-devel kernel-headers"
        + " musl-gcc; pacman: gcc linux-api-headers musl)\n"
        + "\n".join(failures)
    )


class BuildLauncher(build_scripts):
    """Compiles the launcher to where scripts are taken from."""

    def run(self) -> None:
        os.makedirs(self.build_dir, exist_ok=True)
        output = os.path.join(self.build_dir, "sbx")
        with tempfile.TemporaryDirectory() as scratch:
            way = choose_toolchain(scratch)
            extra = compile_flags(self.distribution.get_version())
            command = way.build([LAUNCHER, *CORE_SOURCES], output, extra)
            print(shlex.join(command), file=sys.stderr)
            if subprocess.run(command, check=False).returncode:
                raise CompileError("the launcher does not compile")
        print(f"sbx launcher: {way.words}", file=sys.stderr)


class BuildCore(build_ext):
    """Adds the flags that the launcher is built with too."""

    def build_extension(self, ext: Extension) -> None:
        ext.depends = [*ext.depends, *HEADERS]
        ext.define_macros.append(("Py_LIMITED_API", LIMITED_API[1]))
        ext.extra_compile_args += [*COMPILE_FLAGS, *compile_flags(self.distribution.get_version())]
        # cffi before 2.1 leaves these to Python.h, whose limited API no longer includes them.
        ext.extra_compile_args += ["-include", "stdlib.h", "-include", "string.h"]
        ext.extra_link_args += LINK_FLAGS
        super().build_extension(ext)


class BuildPython(build_py):
    """Adds the shipped profiles to a wheel."""

    def run(self) -> None:
        super().run()
        if not self.editable_mode:
            for source, target in self._profiles():
                self.mkpath(os.path.dirname(target))
                self.copy_file(source, target)

    def get_outputs(self, include_bytecode: bool = True) -> list[str]:
        outputs = super().get_outputs(include_bytecode)
        if self.editable_mode:
            return outputs
        return [*outputs, *(target for _, target in self._profiles())]

    def _profiles(self) -> list[tuple[str, str]]:
        where = os.path.join(self.build_lib, "sandbox", "_profiles")
        return [
            (path, os.path.join(where, os.path.basename(path)))
            for path in sorted(glob.glob("profiles/*.toml"))
        ]


# Where systemd's managers look below /usr and /usr/local.
TEMPLATES = ("lib/systemd/system", "lib/systemd/user")


class InstallData(install_data):
    """Adds what the package itself makes: completion scripts, and the template of systemd's."""

    def run(self) -> None:
        with tempfile.TemporaryDirectory() as scratch:
            for shell, (where, name) in COMPLETIONS.items():
                path = os.path.join(scratch, name)
                with open(path, "w", encoding="utf-8") as out:
                    ask = f"from sandbox.cli import main; main(['completion', '{shell}'])"
                    subprocess.run([sys.executable, "-c", ask], stdout=out, check=True)
                self.data_files = [*self.data_files, (where, [path])]
            path = os.path.join(scratch, "sbx@.service")
            with open(path, "w", encoding="utf-8") as out:
                # systemd finds it in the PATH that it was built with.
                ask = "from sandbox.systemd.template import shipped; print(shipped(), end='')"
                subprocess.run([sys.executable, "-c", ask], stdout=out, check=True)
            self.data_files = [*self.data_files, *((where, [path]) for where in TEMPLATES)]
            super().run()


def manual_pages() -> list[tuple[str, Sequence[str]]]:
    return [
        (f"share/man/man{section}", pages)
        for section in "15"
        if (pages := sorted(glob.glob(f"docs/man/*.{section}")))
    ]


setup(
    cffi_modules=["csrc/build_ffi.py:ffibuilder"],
    cmdclass={
        "build_ext": BuildCore,
        "build_py": BuildPython,
        "build_scripts": BuildLauncher,
        "install_data": InstallData,
    },
    data_files=manual_pages(),
    options={"bdist_wheel": {"py_limited_api": LIMITED_API[0]}},
    scripts=[LAUNCHER],
)
