"""`./dev vm`: runs a command in a new emulated machine, with the tree's sbx installed in it."""

import argparse
import subprocess
import sys
from typing import Final

from tests.vm import host, image, recipe, wheel
from tests.vm.machine import Machine
from tests.vm.qemu import MachineError

_EPILOG: Final = """\
One word is a script for bash, several are a command and its arguments. Each time the machine is a
new one: nothing is left of what was done in it. The exit status is the command's; 124 when its time
was up, 125 when there is no machine.

  ./dev vm 'sbx doctor; systemctl status'
  ./dev vm --user -- sbx run --profile minimal -- id
  ./dev vm --put app.toml:/root/app.toml --get /var/log:/tmp/logs -- sbx check /root/app.toml
"""


def _arguments(words: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="./dev vm",
        description="Run a command in an emulated Debian machine.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--user", action="store_true", help=f"as {recipe.USER}, not as root")
    parser.add_argument("--unit", action="store_true", help="in a systemd unit of its own")
    parser.add_argument("--stdin", action="store_true", help="hand standard input on")
    parser.add_argument(
        "--put",
        action="append",
        default=[],
        type=_pair,
        metavar="HERE:THERE",
        help="copy in, first",
    )
    parser.add_argument(
        "--get",
        action="append",
        default=[],
        type=_pair,
        metavar="THERE:HERE",
        help="copy a directory out, at the end",
    )
    parser.add_argument(
        "--timeout", type=float, default=600, metavar="SECONDS", help="by default 600"
    )
    parser.add_argument("command", nargs=argparse.REMAINDER, metavar="COMMAND")
    if not words:
        parser.print_help()
        sys.exit()
    asked = parser.parse_args(words)
    if asked.command[:1] == ["--"]:
        del asked.command[0]
    if not asked.command:
        parser.error("which command?")
    return asked


def _pair(text: str) -> list[str]:
    parts = text.split(":")
    if len(parts) != 2 or not all(parts):
        raise argparse.ArgumentTypeError(f"'{text}' isn't two paths with a colon between")
    return parts


def _say(text: str) -> None:
    sys.stderr.write(f"dev: {text}\n")


def _run(asked: argparse.Namespace) -> int:
    path = image.provide(_say)
    built = wheel.provide(image.cache_directory())
    command = asked.command if len(asked.command) > 1 else ["bash", "-c", *asked.command]
    with Machine(path) as machine:
        wheel.install(machine, built)
        for source, target in asked.put:
            machine.put(source, target)
        with machine.start(
            *command,
            stdin=sys.stdin.buffer.read() if asked.stdin else b"",
            user=recipe.USER if asked.user else "root",
            unit=asked.unit,
            timeout=asked.timeout,
        ) as running:
            running.copy_output(sys.stdout.buffer, sys.stderr.buffer)
            done = running.wait_bytes()
        for source, target in asked.get:
            machine.get(source, target)
    return done.returncode if done.returncode >= 0 else 128 - done.returncode


def main(words: list[str]) -> int:
    asked = _arguments(words)
    try:
        return _run(asked)
    except subprocess.TimeoutExpired:
        _say(f"error: it has taken more than {asked.timeout:g} seconds")
        return 124
    except (host.UnavailableError, host.BuildError, MachineError, OSError) as error:
        _say(f"error: {error}")
    except KeyboardInterrupt:
        return 130
    except subprocess.CalledProcessError as error:
        _say(f"error: the wheel can't be built: pip ended with {error.returncode}")
    return 125


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
