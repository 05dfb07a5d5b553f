"""docs/profiles.md says what the shipped profiles grant."""

from docs import build_profiles
from sandbox.profile.names import shipped_names


def test_the_tables_are_todays() -> None:
    """After a change of a shipped profile: python docs/build_profiles.py."""
    with open(build_profiles.PAGE, encoding="utf-8") as file:
        text = file.read()
    assert text == build_profiles.page(text)


def test_every_shipped_profile_has_its_part() -> None:
    with open(build_profiles.PAGE, encoding="utf-8") as file:
        lines = file.read().splitlines()
    titles = [line.removeprefix("## ") for line in lines if line.startswith("## ")]
    assert sorted(titles) == sorted(shipped_names())
