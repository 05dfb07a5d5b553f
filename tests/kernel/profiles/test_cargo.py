"""Profile cargo: crates, with the system's Rust and with a toolchain in the home."""

import os
import shutil

import pytest

from tests.applications import application
from tests.kernel.profiles.projects import Home

MANIFEST = '[package]\nname = "hello"\nversion = "1.0.0"\nedition = "2021"\nbuild = "build.rs"\n'
BUILD = """\
fn main() {
    assert!(std::process::Command::new("./thief.sh").status().unwrap().success());
}
"""
# The test talks to itself over the loopback, as those of many crates do.
MAIN = """\
mod part;

fn main() {
    println!("{}", part::greeting());
}

#[test]
fn sockets_reach_the_sandbox() {
    let server = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    std::net::TcpStream::connect(server.local_addr().unwrap()).unwrap();
}
"""
PART = 'pub fn greeting() -> &\'static str {\n    "Hello from inside"\n}\n'


@pytest.fixture
def crate(home: Home) -> Home:
    """A crate of two files, with a thief in its build script."""
    application("cargo")
    home.write("Cargo.toml", MANIFEST)
    home.write("build.rs", BUILD)
    home.write("src/main.rs", MAIN)
    home.write("src/part.rs", PART)
    return home


def test_a_crate_is_built_tested_and_runs(crate: Home) -> None:
    home = crate
    build, test = home.run_examples("cargo")
    assert "Finished" in build.stderr
    assert "1 passed" in test.stdout
    home.assert_thief_gets(everything=False)
    assert home.outside("target/debug/hello").stdout == "Hello from inside\n"
    home.assert_owned()
    home.outside("./thief.sh")
    home.assert_thief_gets(everything=True)


def test_a_toolchain_in_the_home_is_found_and_its_credentials_are_not(crate: Home) -> None:
    home = crate
    toolchain = home.sandbox.mkdir("home/.rustup/toolchains/local/bin")
    cargo = os.path.join(toolchain, "cargo")
    shutil.copy(application("cargo"), cargo)
    home.sandbox.own(cargo)
    binaries = home.sandbox.mkdir("home/.cargo/bin")
    os.symlink(cargo, os.path.join(binaries, "cargo"))
    home.sandbox.write("home/.cargo/config.toml", "[alias]\nwhere = 'version'\n", 0o600)
    token = home.sandbox.write("home/.cargo/credentials.toml", "token\n", 0o600)
    downloads = home.sandbox.mkdir("home/.cargo/registry")
    found = home.run("cargo", "sh", "-c", "command -v cargo; cargo where").stdout
    assert found.splitlines()[0] == os.path.join(binaries, "cargo")
    assert found.splitlines()[1].startswith("cargo ")
    assert home.outside("cat", token).stdout == "token\n"
    assert "No such file" in home.run("cargo", "cat", token, status=1).stderr
    home.run("cargo", "touch", f"{downloads}/x", status=1)
    home.run("cargo", "touch", f"{cargo}", status=1)


def test_what_isnt_granted_is_refused(home: Home) -> None:
    home.assert_refused("cargo")
