"""Users and groups as they are written in a profile."""

import pytest

from tests.kernel.harness import Sandbox

ODD = (
    *('""', '"1000:"', '":1000"', '"+0"', '"-0"', '"0x0"', '"0 "', '" 0"', '"00"', '"1e3"'),
    *("-1", "-2147483648", "4294967295", "4294967296", "18446744073709551616", "0.0", "true"),
    *('"\\u0660"', '"roots"', '"root\\n"'),
)


@pytest.mark.parametrize("odd", ODD)
def test_an_odd_user_is_an_error_and_never_user_0(as_user_by_door: Sandbox, odd: str) -> None:
    message = as_user_by_door.refusal(f"[identity]\nuser = {odd}\ngroup = {odd}\n")
    assert "identity.user" in message
    assert "identity.group" in message


def test_a_plain_number_is_taken(as_root: Sandbox) -> None:
    """The control: the key itself is no error."""
    inside = as_root.dump("[identity]\nuser = 5\ngroup = 7\n")
    assert (inside.uid, inside.gid) == (5, 7)
