"""Names that the set-up follows, and may not be led astray by."""

from tests.isolation.check import Check

_TREES = "tests/kernel/test_hostile_trees.py::"
_SET_UP = "tests/isolation/test_set_up.py::"

CHECKS = (
    Check(
        number=12,
        title="A destination below a link out of the root",
        weakness="files and directories made outside, by the set-up",
        cves=("CVE-2025-24965", "CVE-2026-87766"),
        tests=(f"{_TREES}test_a_link_out_of_the_root_leads_nowhere",),
    ),
    Check(
        number=13,
        title="Names that are exchanged during a launch",
        weakness="a link that takes a directory's place between look and mount",
        cves=("CVE-2021-30465",),
        tests=(
            f"{_TREES}test_a_directory_that_becomes_a_link_while_it_is_mounted_on",
            f"{_TREES}test_a_source_in_the_tree_that_becomes_a_link_while_it_is_opened",
        ),
    ),
    Check(
        number=14,
        title="Links that a run leaves for the next one",
        weakness="a directory of the payload's that leads elsewhere when it is mounted again",
        cves=("CVE-2024-42472", "CVE-2026-34078"),
        tests=(f"{_SET_UP}test_a_link_that_one_run_leaves_leads_the_next_nowhere",),
    ),
    Check(
        number=15,
        title="Mount points behind a dangling link",
        weakness="files and directories made where the link leads",
        cves=("CVE-2024-45310",),
        tests=(f"{_SET_UP}test_nothing_is_made_behind_a_dangling_link",),
    ),
    Check(
        number=16,
        title="Devices and consoles that are something else",
        weakness="a mount on or of what only has a device's name",
        cves=("CVE-2025-52565",),
        tests=(
            f"{_TREES}test_what_takes_a_devices_place_is_never_mounted_as_one",
            f"{_TREES}test_covers_and_devices_are_made_of_nothing_that_changes_places_in_the_root",
            "tests/kernel/test_devices.py::test_a_link_is_not_taken_for_a_device",
            "tests/kernel/test_devices.py::test_what_is_no_character_device_is_refused_as_one",
        ),
    ),
    Check(
        number=17,
        title="Honest trees with links and odd modes",
        weakness="checks so strict that they are turned off",
        tests=(
            "tests/kernel/test_root.py::test_parents_that_can_only_be_passed_through_are_no_obstacle",
            "tests/kernel/test_root.py::test_a_target_below_a_symbolic_link_lands_where_it_leads_in_the_root",
            f"{_SET_UP}test_links_and_modes_of_an_honest_tree_are_no_obstacle",
        ),
    ),
    Check(
        number=18,
        title="A kernel without openat2",
        weakness="a fallback that follows links",
        tests=(
            f"{_SET_UP}test_without_openat2_nothing_runs_and_no_link_is_followed",
            "tests/kernel/test_bad_input.py::test_a_kernel_that_is_too_old_is_told_what_it_lacks",
        ),
    ),
)
