"""Profile npm: packages with install scripts."""

import io
import json
import os
import shutil
import tarfile

import pytest

from tests.applications import application
from tests.kernel.profiles.projects import Home
from tests.kernel.profiles.servers import serving

PACKAGE = {
    "name": "hello",
    "version": "1.0.0",
    "main": "index.js",
    "bin": {"hello": "index.js"},
    "scripts": {"install": '"$INIT_CWD/thief.sh" && echo ran > installed'},
}
INDEX = "#!/usr/bin/env node\nconsole.log('Hello');\n"
BUILD = """\
const { execFileSync } = require("child_process");
const { Worker, isMainThread, parentPort } = require("worker_threads");
if (isMainThread) {
    const out = execFileSync("node_modules/.bin/hello").toString();
    new Worker(__filename).on("message", (n) => require("fs").writeFileSync("built", out + n));
} else {
    parentPort.postMessage(6 * 7);
}
"""


def tarball() -> bytes:
    """The package as a registry has it."""
    memory = io.BytesIO()
    with tarfile.open(fileobj=memory, mode="w:gz") as file:
        for name, text in (("package.json", json.dumps(PACKAGE)), ("index.js", INDEX)):
            info = tarfile.TarInfo(f"package/{name}")
            info.size, info.mode = len(text), 0o755
            file.addfile(info, io.BytesIO(text.encode()))
    return memory.getvalue()


@pytest.fixture
def node(home: Home) -> Home:
    """A project with a build script, and with a package to install beside it."""
    application("npm")
    home.write("hello-1.0.0.tgz", "")
    with open(os.path.join(home.project, "hello-1.0.0.tgz"), "wb") as file:
        file.write(tarball())
    home.write(".npmrc", "audit=false\nfund=false\n")
    home.write("build.js", BUILD)
    wanted(home, "file:./hello-1.0.0.tgz")
    return home


def wanted(home: Home, hello: str) -> None:
    """The project needs the package from this place."""
    scripts = {"build": "node build.js"}
    text = {"private": True, "scripts": scripts, "dependencies": {"hello": hello}}
    home.write("package.json", json.dumps(text))


def test_a_package_is_installed_and_its_script_gets_nothing(node: Home) -> None:
    home = node
    install, _ = home.run_examples("npm")
    assert "added 1 package" in install.stdout
    home.assert_thief_gets(everything=False)
    assert home.read("node_modules", "hello", "installed") == "ran\n"
    assert home.read("built") == "Hello\n42"
    assert home.outside("node_modules/.bin/hello").stdout == "Hello\n"
    home.assert_owned()
    shutil.rmtree(os.path.join(home.project, "node_modules"))
    home.outside("npm", "install")
    home.assert_thief_gets(everything=True)


def test_a_package_from_the_network_and_a_cache_of_its_own(node: Home) -> None:
    home = node
    cache = home.sandbox.mkdir("home/.cache/sandboxed/npm")
    of_npm = home.sandbox.mkdir("home/.npm")
    with serving(home.project) as url:
        wanted(home, f"{url}/hello-1.0.0.tgz")
        home.run("npm", "npm", "install")
    assert home.run("npm", "npx", "hello").stdout == "Hello\n"
    assert "_cacache" in os.listdir(cache)
    assert not os.listdir(of_npm)
    home.assert_owned(home.project, cache)


def test_the_second_launch_needs_no_python(home: Home) -> None:
    application("node")
    assert home.run_warm("npm", "node", "-p", "6 * 7").stdout == "42\n"


def test_a_version_of_nvm_runs_and_stays_as_it_is(home: Home) -> None:
    tool = home.sandbox.write("home/.nvm/versions/bin/node", "#!/bin/sh\necho ran\n", 0o755)
    home.sandbox.own(os.path.dirname(tool))
    assert home.run("npm", tool).stdout == "ran\n"
    home.assert_refused("npm", network=True, unchangeable=[tool, os.path.dirname(tool)])
