"""The layers of the design: a module imports only from its own row or rows below."""

import ast
import os
from collections.abc import Iterator
from typing import NamedTuple

import pytest

TREE = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

# From the bottom up. A package stands for all in it; a module alone beside packages names itself.
ROWS = (
    ("_calls", "_cgroups", "_core", "_mountinfo", "_paths", "capabilities", "errors", "units"),
    ("host",),
    ("profile", "doctor"),
    ("plan",),
    ("process", "draft", "systemd"),
    ("live",),
    ("library", "explain", "verify"),
    ("cli", "__main__"),
)
ROW = {name: number for number, names in enumerate(ROWS) for name in names}
LEAVES = frozenset(ROWS[0])


class Source(NamedTuple):
    """One module: its dotted name, whether it is a package, and its text."""

    name: str
    package: bool
    text: str


def sources() -> list[Source]:
    found = []
    for where, _, files in os.walk(os.path.join(TREE, "sandbox")):
        for file in files:
            if file.endswith((".py", ".pyi")):
                path = os.path.join(where, file)
                name = os.path.relpath(path, TREE).rsplit(".", 1)[0].replace(os.sep, ".")
                package = name.endswith(".__init__")
                with open(path, encoding="utf-8") as text:
                    found.append(Source(name.removesuffix(".__init__"), package, text.read()))
    return found


def imports(source: Source) -> Iterator[tuple[int, str]]:
    """Line and full name of every import, wherever in the module it stands.

    The root package names what it offers for type checkers; nothing is imported by that.
    """
    tree = ast.parse(source.text)
    if source.name == "sandbox":
        tree.body = [node for node in tree.body if not _is_for_type_checkers(node)]
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                home = source.name.split(".")[: None if source.package else -1]
                home = home[: len(home) - node.level + 1]
                base = ".".join([*home, *filter(None, [base])])
            yield from ((node.lineno, f"{base}.{alias.name}") for alias in node.names)


def _is_for_type_checkers(node: ast.stmt) -> bool:
    return isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"


def part(name: str) -> str:
    """`sandbox.plan.ops` is of part `plan`."""
    return name.partition(".")[2].partition(".")[0]


def violations(source: Source) -> list[str]:
    """What `source` imports against the rule, and that it has no row if it has none."""
    own = part(source.name)
    if own and own not in ROW:
        return [f"{source.name} is in no row of the design"]
    found = []
    for line, name in imports(source):
        used = part(name)
        if name.split(".")[0] != "sandbox" or used == "__version__":
            continue
        if not own:
            found.append(
                f"{source.name}:{line} imports {name}, and the root package imports nothing"
            )
        elif used not in ROW:
            found.append(f"{source.name}:{line} imports {name}, which is in no row")
        elif used != own and (ROW[used] > ROW[own] or own in LEAVES):
            found.append(f"{source.name}:{line} imports {name}, which is not below {own}")
    return found


def ends_or_prints(source: Source) -> list[str]:
    """Calls by which a module would speak to the user or end the process.

    os._exit isn't one of them: only a forked child has a use for it.
    """
    found = []
    for node in ast.walk(ast.parse(source.text)):
        if isinstance(node, ast.Call):
            called = ast.unparse(node.func)
            if called in {"print", "exit", "quit", "sys.exit", "os.abort"}:
                found.append(f"{source.name}:{node.lineno} calls {called}")
    return found


def test_modules_import_only_their_own_row_or_rows_below() -> None:
    """Policy, mechanism and presentation stay apart because imports go downward only."""
    found = sources()
    assert len(found) > 10
    assert [v for source in found for v in violations(source)] == []


def test_only_the_command_line_prints_or_exits() -> None:
    """Library code raises; what the user sees and how the process ends is decided in cli/."""
    library = [s for s in sources() if part(s.name) not in {"cli", "__main__"}]
    assert [v for source in library for v in ends_or_prints(source)] == []


@pytest.mark.parametrize(
    ("name", "package", "text"),
    (
        ("sandbox.plan.ops", False, "from sandbox.process import spawn"),
        ("sandbox.plan.ops", False, "def f():\n    import sandbox.cli.run"),
        ("sandbox.plan.ops", False, "from ..process import spawn"),
        ("sandbox.plan", True, "from ..process.spawn import Spawn"),
        ("sandbox.plan", True, "from .. import cli"),
        ("sandbox.host", False, "from sandbox import plan"),
        ("sandbox.errors", False, "from sandbox.units import size"),
        ("sandbox.plan.ops", False, "from sandbox.elsewhere import x"),
        ("sandbox.elsewhere", False, ""),
        ("sandbox", True, "from sandbox.errors import SandboxError"),
        ("sandbox", True, "if True:\n    from sandbox.errors import SandboxError"),
        ("sandbox.plan.ops", False, "if TYPE_CHECKING:\n    import sandbox.cli"),
        ("sandbox.process.launch", False, "from sandbox.library import pool"),
    ),
)
def test_the_rule_sees_a_violation(name: str, package: bool, text: str) -> None:
    """The check isn't blind: each of these breaks the rule once."""
    assert len(violations(Source(name, package, text))) == 1


@pytest.mark.parametrize(
    ("name", "package", "text"),
    (
        ("sandbox.plan.ops", False, "from sandbox.profile.model import Profile"),
        ("sandbox.plan.ops", False, "from .codec import encode\nfrom . import codec"),
        ("sandbox.plan", True, "from .ops import Op\nfrom ..errors import SandboxError"),
        ("sandbox.process.spawn", False, "import sandbox._core\nfrom sandbox import __version__"),
        ("sandbox.host", False, "import os\nfrom sandboxes import plan"),
        ("sandbox", True, "if TYPE_CHECKING:\n    from sandbox.errors import SandboxError as E"),
        ("sandbox.library.pool", False, "from sandbox.process.launch import start"),
    ),
)
def test_the_rule_lets_the_design_through(name: str, package: bool, text: str) -> None:
    """Downward imports, a package's own, and other people's packages are fine."""
    assert violations(Source(name, package, text)) == []


def test_the_check_for_printing_sees_a_call() -> None:
    """The check isn't blind: each of these calls is found."""
    text = "print('x')\nimport sys\nsys.exit(1)\nlog.print('x')"
    assert len(ends_or_prints(Source("sandbox.plan.ops", False, text))) == 2
