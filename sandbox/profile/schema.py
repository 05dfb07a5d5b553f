"""The model as a JSON Schema (draft 2020-12), for editors."""

import inspect
from typing import Any

import msgspec

from sandbox.profile.model import Profile
from sandbox.profile.names import shipped_names

DIALECT = "https://json-schema.org/draft/2020-12/schema"


def json_schema() -> dict[str, Any]:
    """The schema of a profile; what only sbx itself can check is left to `sbx check`."""
    schema = msgspec.json.schema(Profile)
    definitions = schema["$defs"]
    # The top level stands inline: not every editor follows a reference there.
    profile = definitions.pop("Profile")
    for definition in (profile, *definitions.values()):
        definition["description"] = inspect.cleandoc(definition["description"])
    extends = definitions["About"]["properties"]["extends"]
    extends["examples"] = list(shipped_names())
    _let_variables_be_words((profile, definitions))
    return {"$schema": DIALECT, **profile, "title": "Profile of sbx", "$defs": definitions}


def _let_variables_be_words(part: Any) -> None:
    """Where one of several words is wanted, a variable can stand for it."""
    if isinstance(part, str | int | float | None):
        return
    for inner in part.values() if isinstance(part, dict) else part:
        _let_variables_be_words(inner)
    words = part.get("enum") if isinstance(part, dict) else None
    if words and all(isinstance(word, str) for word in words):
        part["anyOf"] = [{"enum": part.pop("enum")}, {"type": "string", "pattern": r"\$\{"}]


def schema_text() -> str:
    """The schema as it is printed and kept in docs/."""
    encoded = msgspec.json.encode(json_schema())
    return msgspec.json.format(encoded, indent=2).decode() + "\n"
