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
    return {"$schema": DIALECT, **profile, "title": "Profile of sbx", "$defs": definitions}


def schema_text() -> str:
    """The schema as it is printed and kept in docs/."""
    encoded = msgspec.json.encode(json_schema())
    return msgspec.json.format(encoded, indent=2).decode() + "\n"
