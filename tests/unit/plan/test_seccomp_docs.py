"""docs/seccomp.md lists what the groups hold."""

import os

from docs import build_seccomp


def test_the_list_of_groups_is_todays() -> None:
    """After a change of the groups: python docs/build_seccomp.py."""
    with open(build_seccomp.PAGE, encoding="utf-8") as file:
        text = file.read()
    assert os.path.basename(build_seccomp.PAGE) == "seccomp.md"
    assert text == build_seccomp.page(text)
    assert text.count("### @") >= 30
