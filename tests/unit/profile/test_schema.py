"""The JSON Schema that editors read."""

import json
import os
import tomllib
from typing import Any

import jsonschema
import msgspec
import pytest

from sandbox._paths import profiles_dir
from sandbox.profile.schema import json_schema, schema_text
from sandbox.profile.text import to_toml
from tests.unit.profile.conftest import Load

KEPT = "docs/sbx.schema.json"


def validator() -> jsonschema.Draft202012Validator:
    return jsonschema.Draft202012Validator(json_schema())


def read(path: str) -> dict[str, Any]:
    with open(path, "rb") as file:
        return tomllib.load(file)


def test_the_kept_schema_is_that_of_the_model(tree: str) -> None:
    """After a change to the model: sbx schema > docs/sbx.schema.json."""
    with open(os.path.join(tree, KEPT), encoding="utf-8") as file:
        assert file.read() == schema_text()


def test_it_is_a_schema_of_its_draft() -> None:
    jsonschema.Draft202012Validator.check_schema(json_schema())


def test_shipped_profiles_meet_it() -> None:
    names = os.listdir(profiles_dir())
    assert "minimal.toml" in names
    for name in names:
        validator().validate(read(os.path.join(profiles_dir(), name)))


@pytest.mark.parametrize(
    "text",
    (
        "",
        "schema = 2",
        "schema = 1\noops = 1",
        "schema = 1\n[process]\ninit = 'yes'",
        "schema = 1\n[identity]\nuser = -1",
        "schema = 1\n[identity]\nuser = '1000:'",
        "schema = 1\n[filesystem]\nread = ['etc']",
        "schema = 1\n[filesystem]\nproc = 'readonly'",
        "schema = 1\n[rlimits]\nnofile = [1]",
        "schema = 1\n[[mounts]]\ntype = 'bind'",
        "schema = 1\n[resources]\nmemory = 1",
    ),
)
def test_an_editor_sees_what_is_wrong(text: str) -> None:
    assert not validator().is_valid(tomllib.loads(text))


def test_variables_are_fine_where_a_path_is_wanted() -> None:
    text = "schema = 1\n[filesystem]\nread = ['${home}/x']\ntmpfs = [{path = '${home}', size = 1}]"
    validator().validate(tomllib.loads(text))


def test_variables_are_fine_where_one_of_several_words_is_wanted() -> None:
    text = "schema = 1\n[network]\nmode = '${network}'\n[rootfs]\ngenerate = ['${file}']"
    validator().validate(tomllib.loads(text))
    assert not validator().is_valid(tomllib.loads(text.replace("${network}", "network")))


def test_every_key_has_a_description() -> None:
    schema = json_schema()
    lacking = [
        f"{title}.{key}"
        for title, table in (("", schema), *schema["$defs"].items())
        for key, value in table["properties"].items()
        if not value.get("description")
    ]
    assert lacking == []


def test_the_tree_tells_editors_which_files_it_is_for(tree: str) -> None:
    rules = read(os.path.join(tree, ".taplo.toml"))["rule"]
    assert [rule["schema"]["path"] for rule in rules] == [KEPT]
    assert any("profiles/*.toml" in rule["include"] for rule in rules)


def test_what_is_shown_meets_it_too(load_text: Load) -> None:
    text = to_toml(load_text("[profile]\nextends = 'python-service'").profile)
    validator().validate(tomllib.loads(text))


def test_the_printed_schema_is_the_same() -> None:
    printed = json.loads(schema_text())
    assert msgspec.json.encode(printed) == msgspec.json.encode(json_schema())
