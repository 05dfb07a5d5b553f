"""Profiles written down for a test, and what loading them says."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TypeAlias

import pytest

from sandbox.errors import Problem, ProfileError
from sandbox.profile import Overrides, ResolvedProfile, load

Write: TypeAlias = Callable[..., Path]
Load: TypeAlias = Callable[..., ResolvedProfile]
Problems: TypeAlias = Callable[..., tuple[Problem, ...]]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Write `name`.toml (by default app) with the line `schema = 1` before the text."""

    def do(text: str, name: str = "app", *, schema: str = "schema = 1\n") -> Path:
        path = tmp_path / f"{name}.toml"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(schema + text, encoding="utf-8")
        return path

    return do


@pytest.fixture
def load_text(write: Write, tmp_path: Path) -> Load:
    """Load a profile with this text."""

    def do(
        text: str,
        *,
        environ: Mapping[str, str] | None = None,
        overrides: Overrides = Overrides(),  # noqa: B008
    ) -> ResolvedProfile:
        write(text)
        return load("app.toml", cwd=str(tmp_path), environ=environ or {}, overrides=overrides)

    return do


@pytest.fixture
def problems(load_text: Load) -> Problems:
    """What is wrong with a profile of this text."""

    def do(
        text: str,
        *,
        environ: Mapping[str, str] | None = None,
        overrides: Overrides = Overrides(),  # noqa: B008
    ) -> tuple[Problem, ...]:
        try:
            load_text(text, environ=environ, overrides=overrides)
        except ProfileError as error:
            return error.problems
        return ()

    return do


@pytest.fixture
def file_problems(tmp_path: Path) -> Callable[[str], tuple[Problem, ...]]:
    """What is wrong with a file as it stands in the test's directory."""

    def do(name: str) -> tuple[Problem, ...]:
        with pytest.raises(ProfileError) as caught:
            load(name, cwd=str(tmp_path), environ={})
        return caught.value.problems

    return do
