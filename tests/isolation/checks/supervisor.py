"""What the supervisor takes from a payload, a caller, a profile's text and a cache."""

from tests.isolation import scene
from tests.isolation.check import OUTSIDE, Check, attempt

_LOG = "tests/kernel/service/test_log.py"
_CACHE = "tests/kernel/test_cache.py"

CHECKS = (
    Check(
        number=57,
        title="Hostile output",
        weakness="output without an end, escape sequences in what is quoted",
        cves=("CVE-2021-25743",),
        tests=(
            f"{_LOG}::test_a_gibibyte_without_a_newline_is_bounded_in_memory_and_on_disk",
            "tests/kernel/service/test_logs.py::test_the_log_of_what_has_ended_is_printed_harmlessly",
            "tests/kernel/test_ps.py::test_escapes_in_a_command_are_harmless",
            "tests/kernel/test_bad_input.py::test_a_file_name_cannot_forge_a_message",
            "tests/cli/test_main.py::test_what_acts_on_a_terminal_is_escaped",
        ),
    ),
    Check(
        number=58,
        title="The environment",
        weakness="LD_PRELOAD, PYTHON* and BASH_ENV of the caller's",
        attempts=tuple(attempt(f"variable {name}", "ENODATA", OUTSIDE) for name in scene.VARIABLES),
        tests=(
            "tests/kernel/test_process.py::test_the_environment_is_exactly_the_list",
            "tests/kernel/test_process.py::test_entries_that_are_not_variables_are_not_passed",
            "tests/kernel/hosts/test_environment.py::test_variables_of_pythons_change_nothing",
            "tests/kernel/hosts/test_environment.py::test_variables_of_pythons_reach_a_payload_that_is_to_have_them",
        ),
    ),
    Check(
        number=59,
        title="Profiles",
        weakness="text that says something else than it seems to, exhausts its reader, or turns into options",
        cves=("CVE-2021-42574", "CVE-2024-32462"),
        tests=(
            "tests/isolation/test_words.py::test_words_of_a_command_are_never_options",
            "tests/unit/profile/test_load.py::test_a_cycle_is_refused_and_named",
            "tests/unit/profile/test_source.py::test_what_cannot_be_seen_is_refused_by_name",
            "tests/unit/profile/test_source.py::test_what_is_not_toml_is_placed",
            "tests/unit/profile/test_source.py::test_deep_nesting_is_an_error_and_soon",
            "tests/unit/profile/test_validate.py::test_an_unknown_key_is_refused_with_a_suggestion",
            "tests/kernel/test_bad_input.py::test_what_is_wrong_in_a_profile_is_told_with_its_line",
            "tests/kernel/test_bad_input.py::test_a_profile_that_would_exhaust_a_parser_is_refused_at_once",
        ),
    ),
    Check(
        number=60,
        title="Compiled plans",
        weakness="a plan that somebody else has put into the cache, or has changed there",
        tests=(
            f"{_CACHE}::test_the_owner_of_the_cache_can_put_anything_there",
            f"{_CACHE}::test_what_belongs_to_someone_else_is_not_used",
            f"{_CACHE}::test_a_file_with_another_mode_is_not_used",
            f"{_CACHE}::test_a_symbolic_link_is_not_followed",
            f"{_CACHE}::test_a_plan_of_another_profile_under_this_ones_name_is_not_used",
            f"{_CACHE}::test_a_truncated_file_is_not_used",
            f"{_CACHE}::test_a_file_with_one_bit_changed_is_not_used",
        ),
    ),
)
