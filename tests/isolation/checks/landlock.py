"""What Landlock holds by itself, with the mounts out of its way."""

from tests.isolation.check import Check

_LAYERS = "tests/kernel/test_two_layers.py::"

CHECKS = (
    Check(
        number=56,
        title="Landlock alone",
        weakness="a second layer that was never tried without the first",
        tests=(
            f"{_LAYERS}test_landlock_holds_without_the_mounts",
            f"{_LAYERS}test_landlock_lets_nothing_be_moved_to_where_more_is_allowed",
            f"{_LAYERS}test_with_both_layers_away_all_of_it_works",
            "tests/isolation/test_landlock.py::test_devices_take_no_commands_under_landlock_alone",
        ),
    ),
)
