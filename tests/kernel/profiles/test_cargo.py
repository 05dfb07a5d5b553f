"""Profile cargo: crates, with the system's Rust and with a toolchain in the home."""

import glob
import hashlib
import io
import json
import os
import shutil
import tarfile

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


def registry(home: Home) -> str:
    """The URL of a registry with one package."""
    directory = home.sandbox.mkdir("registry")
    memory = io.BytesIO()
    with tarfile.open(fileobj=memory, mode="w:gz") as file:
        manifest = '[package]\nname = "part"\nversion = "1.0.0"\nedition = "2021"\n'
        for name, text in (("Cargo.toml", manifest), ("src/lib.rs", PART)):
            information = tarfile.TarInfo(f"part-1.0.0/{name}")
            information.size = len(text)
            file.addfile(information, io.BytesIO(text.encode()))
    with open(f"{directory}/part-1.0.0.crate", "wb") as crate:
        crate.write(memory.getvalue())
    entry = {"name": "part", "vers": "1.0.0", "deps": [], "features": {}, "yanked": False}
    entry["cksum"] = hashlib.sha256(memory.getvalue()).hexdigest()
    home.sandbox.write("registry/index/pa/rt/part", json.dumps(entry) + "\n")
    places = {"dl": f"file://{directory}/{{crate}}-{{version}}.crate"}
    home.sandbox.write("registry/index/config.json", json.dumps(places))
    index = f"{directory}/index"
    for path in (index, f"{index}/pa", f"{index}/pa/rt"):
        home.sandbox.own(path)
    git = ("git", "-C", index, "-c", "user.name=x", "-c", "user.email=x@example.org")
    for words in (("init", "-q"), ("add", "."), ("commit", "-q", "-m", "index")):
        home.outside(*git, *words)
    return f"file://{index}"


def test_what_was_fetched_outside_is_built_inside_and_stays_as_it_was(crate: Home) -> None:
    home = crate
    application("git")
    home.write(".cargo/config.toml", f'[registries.local]\nindex = "{registry(home)}"\n')
    needed = '[dependencies]\npart = { version = "1", registry = "local" }\n'
    home.write("Cargo.toml", MANIFEST + needed)
    home.write("src/main.rs", 'fn main() {\n    println!("{}", part::greeting());\n}\n')
    home.outside("cargo", "fetch")
    home.run("cargo", "cargo", "build")
    assert home.outside("target/debug/hello").stdout == "Hello from inside\n"
    sources = os.path.join(home.path, ".cargo", "registry")
    (found,) = glob.glob(f"{sources}/src/*/part-1.0.0/src/lib.rs")
    home.assert_refused("cargo", unchangeable=[found, sources])


def test_what_isnt_granted_is_refused(home: Home) -> None:
    home.assert_refused("cargo")
