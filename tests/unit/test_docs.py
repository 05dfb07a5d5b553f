"""The documents say what the code does: keys, verbs, options, links, generated parts."""

import glob
import importlib
import os
import re
import tomllib
from collections.abc import Iterator

import click
import pytest

from benchmarks import report
from benchmarks.run import NAMES
from docs import build_manual
from sandbox import __version__
from sandbox.cli.verbs import VERBS
from sandbox.profile import validate
from sandbox.profile.resolved import key_text

TREE = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
MARKDOWN = sorted(glob.glob("*.md", root_dir=TREE) + glob.glob("*/*.md", root_dir=TREE))
TEXTS = [*MARKDOWN, *sorted(glob.glob("docs/man/*", root_dir=TREE)), "docs/keys.toml"]
OPTION = re.compile(r"(?<![\w-])--?[a-z][a-z-]*")


def read(name: str) -> str:
    with open(os.path.join(TREE, name), encoding="utf-8") as file:
        return file.read()


def notes() -> dict[str, dict[str, str]]:
    return tomllib.loads(read("docs/keys.toml"))


def plain_roff(text: str) -> str:
    """A manual page without its font changes and escapes."""
    return re.sub(r"\\f[BIR]", "", text).replace("\\-", "-").replace("\\&", "").replace("\\e", "\\")


def command_of(verb: str) -> click.Command:
    command = importlib.import_module(f"sandbox.cli.{verb}").command
    assert isinstance(command, click.Command)
    return command


def inner_options(verb: str, words: list[str]) -> set[str]:
    """The options of a verb within a verb, where the first word is one."""
    command = command_of(verb)
    inner = command.commands.get(words[0]) if isinstance(command, click.Group) and words else None
    return {option for param in inner.params for option in param.opts} if inner else set()


def options_of(verb: str) -> set[str]:
    """The options of a verb, help included."""
    options = {option for param in command_of(verb).params for option in param.opts}
    return {"-h", "--help", *(option for option in options if option.startswith("-"))}


# --- sbx.toml(5) ----------------------------------------------------------------------------------


def test_the_manual_of_profiles_is_what_its_sources_make() -> None:
    """After a change of the model: python docs/build_manual.py."""
    assert read("docs/man/sbx.toml.5") == build_manual.page()


def test_every_key_of_the_model_is_documented() -> None:
    page = plain_roff(read("docs/man/sbx.toml.5"))
    keys = [key.name for key in build_manual.model_keys()]
    assert len(keys) > 90
    assert [key for key in keys if f"\n{key} (" not in page] == []


@pytest.mark.parametrize("change", ("missing", "unknown"))
def test_a_key_without_a_note_and_a_note_without_a_key_stop_the_manual(change: str) -> None:
    found = notes()
    if change == "missing":
        del found["mounts[].idmap"]
    else:
        found["mounts[].nothing"] = {"kernel": "none", "hazard": "None."}
    with pytest.raises(build_manual.ManualError, match=r"mounts\[\]"):
        build_manual.key_reference(found)


def test_every_key_names_the_feature_of_the_kernel_and_the_hazard() -> None:
    wrong = [
        key
        for key, note in notes().items()
        if set(note) != {"kernel", "hazard"} or not all(text.strip() for text in note.values())
    ]
    assert wrong == []


def test_every_key_that_is_not_enforced_yet_is_named() -> None:
    page = plain_roff(read("docs/man/sbx.toml.5"))
    names = [key_text(key) for key in validate._NOT_YET]
    assert len(names) > 5
    assert [name for name in names if name not in page] == []


# --- sbx(1) ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_and_each_of_its_options_is_documented(verb: str) -> None:
    page = plain_roff(read("docs/man/sbx.1"))
    assert f".SS sbx {verb}\n" in page
    section = page.partition(f".SS sbx {verb}\n")[2].partition("\n.S")[0]
    common = page.partition(".SS Options of every verb\n")[2].partition("\n.SH")[0]
    described = set(OPTION.findall(section + common))
    assert options_of(verb) - described == set()
    assert set(OPTION.findall(section)) - options_of(verb) == set()


@pytest.mark.parametrize("verb", VERBS)
def test_the_synopsis_has_every_option_and_argument_of_a_verb(verb: str) -> None:
    synopsis = read("docs/man/sbx.1").partition(".SH SYNOPSIS\n")[2].partition(".SH")[0]
    (line,) = re.findall(rf"(?m)^sbx {verb}\b.*(?:\n .*)*", plain_roff(synopsis))
    params = [param for param in command_of(verb).params if not getattr(param, "hidden", False)]
    for param in params:
        if isinstance(param, click.Argument):
            assert re.search(r"\w+", param.make_metavar(click.Context(command_of(verb))))[0] in line  # type: ignore[index]
        else:
            assert [
                option
                for option in param.opts
                if f"{option}" in line.replace("]", " ").split()
                or f"[{option}" in line.replace("]", " ").split()
            ], (param.name, line)
    assert set(OPTION.findall(line)) <= options_of(verb)


@pytest.mark.parametrize("status", ("125", "126", "127", "128"))
def test_every_exit_status_is_documented(status: str) -> None:
    assert status in read("docs/man/sbx.1").partition(".SH EXIT STATUS")[2].partition(".SH")[0]


def test_the_manuals_and_the_changelog_are_of_this_version() -> None:
    for page in ("docs/man/sbx.1", "docs/man/sbx-systemd.1", "docs/man/sbx.toml.5"):
        assert f'"sbx {__version__}"' in read(page)
    assert f"## [{__version__}]" in read("CHANGELOG.md")


# --- sbx-systemd(1) -------------------------------------------------------------------------------


def test_every_verb_of_systemd_and_each_of_its_options_is_documented() -> None:
    page = plain_roff(read("docs/man/sbx-systemd.1"))
    group = command_of("systemd")
    assert isinstance(group, click.Group)
    described = set(OPTION.findall(page))
    for name, command in group.commands.items():
        options = {o for param in command.params for o in param.opts if o.startswith("-")}
        assert f".SS sbx systemd {name}\n" in page
        assert options - described == set()
    known = {
        o for command in group.commands.values() for param in command.params for o in param.opts
    }
    assert {o for o in described if o.startswith("--")} - known == set()


def test_every_setting_of_a_unit_is_documented() -> None:
    """Each line that a unit may hold, so that nobody has to guess why it is there."""
    page = plain_roff(read("docs/man/sbx-systemd.1"))
    found = set()
    for name in ("unit", "places", "hardening"):
        found |= set(re.findall(r'"([A-Z][A-Za-z]+)", ', read(f"sandbox/systemd/{name}.py")))
    found -= {"Unit", "Service", "Socket", "Install"}
    assert len(found) > 30
    assert sorted(setting for setting in found if f"{setting}=" not in page) == []


# --- All of them ----------------------------------------------------------------------------------


def code(text: str) -> str:
    """The fenced and indented blocks of Markdown, or the examples of a manual page."""
    fenced = re.findall(r"(?ms)^```\w*\n(.*?)^```", text)
    indented = re.findall(r"(?m)^ {4}(.*)$", text)
    examples = re.findall(r"(?ms)^\.EX\n(.*?)^\.EE", text)
    return "\n".join([*fenced, *indented, *examples])


def commands(text: str) -> Iterator[list[str]]:
    """The words behind `sbx` of each line in the text's examples that starts it."""
    for line in re.findall(r"(?m)^(?:\$ )?(?:\S*/)?sbx (.*)$", plain_roff(code(text))):
        yield re.split(r" -- |[|;>&#]", line)[0].split()


@pytest.mark.parametrize(
    "name", ("README.md", "CONTRIBUTING.md", "docs/man/sbx.1", "docs/man/sbx-systemd.1")
)
def test_every_example_uses_verbs_and_options_that_exist(name: str) -> None:
    for verb, *words in commands(read(name)):
        assert verb in VERBS
        known = options_of(verb) | inner_options(verb, words)
        assert {word for word in words if OPTION.fullmatch(word)} - known == set()


@pytest.mark.parametrize("name", MARKDOWN)
def test_every_verb_of_dev_that_a_document_names_exists(name: str) -> None:
    listed = set(re.findall(r"(?m)^  (\w+) +\S", read("dev").partition("END\n}")[0]))
    assert {"run", "test", "lint"} <= listed
    assert set(re.findall(r"\./dev ([a-z]+)", read(name))) - listed == set()


def test_examples_are_found() -> None:
    """The search for examples isn't blind."""
    assert len(list(commands(read("docs/man/sbx.1")))) > 5
    text = "sbx is\n\n```sh\n$ sbx frob --x -- y\n~/bin/sbx doctor\n```\n\n    sbx run # z\n"
    assert list(commands(text)) == [["frob", "--x"], ["doctor"], ["run"]]


def anchors(text: str) -> set[str]:
    """The names by which a rendered page's headings can be reached."""
    headings = re.findall(r"(?m)^#+ (.*)$", text)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


def broken_links(name: str, text: str) -> list[str]:
    found = []
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if re.match(r"[a-z]+:", target):
            continue
        path, _, anchor = target.partition("#")
        there = os.path.normpath(os.path.join(TREE, os.path.dirname(name), path)) if path else name
        there = os.path.join(TREE, there)
        if not os.path.exists(there) or (anchor and anchor not in anchors(read(there))):
            found.append(target)
    return found


@pytest.mark.parametrize("name", MARKDOWN)
def test_links_within_the_tree_lead_somewhere(name: str) -> None:
    assert broken_links(name, read(name)) == []


def test_a_broken_link_is_found() -> None:
    text = (
        "[a](README.md) [b](nowhere.md) [c](#here) [d](#there) [e](https://example.org/)\n# Here\n"
    )
    assert broken_links("README.md", text.replace("(#here)", "(README.md#a-profile)")) == [
        "nowhere.md",
        "#there",
    ]


@pytest.mark.parametrize("name", ("docs/architecture.md", "CONTRIBUTING.md"))
def test_files_that_a_document_names_exist(name: str) -> None:
    named = set(re.findall(r"`((?:sandbox|csrc|tests|docs|benchmarks)/[\w./*]*)`", read(name))) - {
        "sandbox/cli/VERB.py"
    }
    assert len(named) > 3
    assert [path for path in sorted(named) if not glob.glob(os.path.join(TREE, path))] == []


@pytest.mark.parametrize("name", TEXTS)
def test_texts_have_no_trailing_space_and_end_with_a_line(name: str) -> None:
    text = read(name)
    assert re.findall(r"(?m)^.*[ \t]+$", text) == []
    assert text.endswith("\n")
    assert not text.endswith("\n\n")


def test_the_figures_are_those_of_the_kept_results() -> None:
    """After a measurement: python -m benchmarks.report."""
    results = report.load(os.path.join(TREE, "benchmarks", "results"))
    for name, marker, build in report.BLOCKS:
        text = read(name)
        assert report.filled(text, marker, build(results)) == text


def test_a_result_that_is_not_there_is_named_and_not_made_up() -> None:
    assert report.figures({}).count("Not measured yet") == len(NAMES)
    assert re.search(r"\d+\.\d", report.figures({})) is None
    assert "Not measured yet" in report.stages({})
    assert "Not swept yet" in report.survived({})
