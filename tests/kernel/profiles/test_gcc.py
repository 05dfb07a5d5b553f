"""Profiles build and gcc: C programs of several files, by make and by cmake."""

import os

import pytest

from tests.applications import application
from tests.kernel.profiles.projects import Home

PROGRAM = '#include <stdio.h>\nint square(int);\nint main(void) { printf("%d\\n", square(12)); }\n'
PART = "int square(int x) { return x * x; }\n"
MAKEFILE = """\
.SUFFIXES:
program: main.o square.o
\tcc -o $@ $^
%.o: %.c
\tcc $(CFLAGS) -c -o $@ $<
square.o: stolen
stolen:
\t./thief.sh
"""
CMAKE = """\
cmake_minimum_required(VERSION 3.10)
project(program C)
include(CheckFunctionExists)
check_function_exists(printf HAVE_PRINTF)
if(NOT HAVE_PRINTF)
  message(FATAL_ERROR "programs can't be linked")
endif()
add_executable(program main.c square.c)
enable_testing()
add_test(NAME runs COMMAND program)
"""


@pytest.fixture
def source(home: Home) -> Home:
    """A project of two files, with a thief among its recipes."""
    application("make")
    home.write("main.c", PROGRAM)
    home.write("square.c", PART)
    home.write("Makefile", MAKEFILE)
    return home


def test_a_program_is_made_and_runs_inside_and_outside(source: Home) -> None:
    home = source
    flags = {**home.environment, "CFLAGS": "-O2 -g"}
    done = home.run("gcc", "make", "-j2", env=flags)
    assert "cc -O2 -g -c" in done.stdout
    home.assert_thief_gets(everything=False)
    assert home.run("gcc", "./program").stdout == "144\n"
    assert home.outside("./program").stdout == "144\n"
    home.assert_owned()
    os.remove(os.path.join(home.project, "program"))
    home.outside("./thief.sh")
    home.assert_thief_gets(everything=True)


def test_cmake_configures_builds_and_tests(source: Home) -> None:
    home = source
    application("cmake")
    home.write("CMakeLists.txt", CMAKE)
    make, configure = home.run_examples("gcc")
    assert "cc" in make.stdout
    assert "Looking for printf - found" in configure.stdout
    home.run("gcc", "cmake", "--build", "out", "-j2")
    assert "100% tests passed" in home.run("gcc", "ctest", "--test-dir", "out").stdout
    assert home.outside("out/program").stdout == "144\n"
    home.assert_owned()


def test_a_build_can_read_the_repository_and_tasks_but_not_change_them(source: Home) -> None:
    home = source
    application("git")
    home.outside("git", "init", "--quiet")
    home.write(".envrc", "")
    home.write(".vscode/tasks.json", "{}\n")
    kept = (".git", ".git/hooks", ".git/config", ".envrc", ".vscode", ".vscode/tasks.json")
    home.assert_refused("gcc", unchangeable=[os.path.join(home.project, name) for name in kept])
    home.run("gcc", "mv", ".git", "away", status=1)
    assert "?? main.c" in home.run("gcc", "git", "status", "--short").stdout
    assert not os.path.exists(os.path.join(home.project, "away"))


def test_what_isnt_granted_is_refused(home: Home) -> None:
    home.assert_refused("build")
    home.assert_refused("gcc")


def test_the_examples_of_build_work_from_the_cache_too(source: Home) -> None:
    home = source
    home.write("configure", "#!/bin/sh\ncd /tmp && echo ok > f && cat f\n", 0o755)
    configure, make = home.run_examples("build", {"/srv/src": home.project})
    assert configure.stdout == "ok\n"
    assert "cc -o program" in make.stdout
    assert home.run_warm("build", "./program").stdout == "144\n"


def test_what_is_put_into_tmp_can_be_executed(home: Home) -> None:
    script = "cp /bin/true /tmp/t && /tmp/t && echo ran"
    assert home.run("build", "sh", "-c", script).stdout == "ran\n"
    assert home.run("project", "sh", "-c", script, status=126).stdout == ""
