"""Every trouble that a host can make has a test: where it is, so that none goes away unseen."""

import ast
import os

import pytest

from tests.faults.launches import TREE

TESTS = {
    "a process is killed at any call, or a call fails": (
        "tests/faults/test_sweep.py::test_whatever_fails_nothing_runs_without_a_layer_and_nothing_is_left",
        "tests/faults/test_single.py::test_what_a_single_fault_comes_to",
        "tests/kernel/test_lifecycle.py::test_a_kill_at_any_moment_of_the_launch_leaves_nothing",
        "tests/kernel/test_lifecycle.py::test_a_kill_while_python_compiles_leaves_nothing",
    ),
    "no Landlock, or a version too old for the profile": (
        "tests/kernel/test_bad_input.py::test_without_landlock_it_is_an_error_unless_it_is_optional",
        "tests/unit/plan/test_landlock.py::test_a_version_too_old_is_named_and_what_it_can_is_enforced_if_optional",
    ),
    "an interface of newer kernels is missing": (
        "tests/faults/test_sweep.py::test_whatever_fails_nothing_runs_without_a_layer_and_nothing_is_left",
        "tests/kernel/test_bad_input.py::test_a_kernel_that_is_too_old_is_told_what_it_lacks",
    ),
    "no room for the cache": (
        "tests/kernel/hosts/test_environment.py::test_a_full_cache_is_left_without_halves",
        "tests/unit/plan/test_cache.py::test_a_full_disk_is_no_error_and_leaves_nothing",
        "tests/kernel/test_cache.py::test_a_truncated_file_is_not_used",
    ),
    "no room for the record of what runs": (
        "tests/kernel/test_host_faults.py::test_a_name_that_cannot_be_recorded_is_an_error",
        "tests/kernel/test_host_faults.py::test_one_without_a_name_runs_where_nothing_can_be_recorded",
    ),
    "no room for the log": (
        "tests/kernel/service/test_log.py::test_a_full_disk_stops_nothing_and_is_said_later",
    ),
    "a control group can't be made, or not removed": (
        "tests/faults/test_single.py::test_what_a_single_fault_comes_to",
        "tests/kernel/test_limit_ends.py::test_nothing_is_left_of_a_fork_bomb",
    ),
    "no room for mounts": (
        "tests/kernel/test_host_faults.py::test_a_host_without_room_for_mounts_is_told",
    ),
    "no namespaces left, or none allowed": (
        "tests/kernel/test_host_faults.py::test_a_host_without_namespaces_left_is_told",
        "tests/kernel/hosts/test_user_namespaces.py::test_used_up_user_namespaces_are_told",
        "tests/kernel/test_bad_input.py::test_without_user_namespaces_the_error_says_so",
    ),
    "no processes left": (
        "tests/kernel/test_host_faults.py::test_a_caller_without_processes_left_is_told",
        "tests/kernel/test_host_faults.py::test_a_caller_whose_group_has_no_process_left_is_told",
        "tests/kernel/test_limit_ends.py::test_one_process_is_enough_only_without_an_init",
    ),
    "state is half written": (
        "tests/kernel/test_host_faults.py::test_what_was_half_written_is_in_nobodys_way",
    ),
    "the clock jumps": ("tests/vm/test_survival.py::test_a_jump_of_the_clock_disturbs_no_time",),
    "the runtime directory is deleted": (
        "tests/kernel/test_host_faults.py::test_a_runtime_directory_that_is_deleted_ends_nothing",
        "tests/kernel/service/test_notify.py::test_a_runtime_directory_that_is_deleted_stops_nothing",
    ),
    "the caller ignores SIGCHLD, or blocks signals": (
        "tests/kernel/test_attacks.py::test_a_caller_that_ignores_sigchld_gets_the_payloads_status",
        "tests/kernel/test_lifecycle.py::test_a_caller_that_ignores_and_blocks_signals_changes_nothing",
    ),
    "standard streams are closed": (
        "tests/kernel/test_host_faults.py::test_closed_standard_streams_are_dev_null",
    ),
    "nobody reads the output, or its reader has gone": (
        "tests/kernel/test_host_faults.py::test_a_time_limit_holds_while_nobody_reads_the_output",
        "tests/kernel/test_lifecycle.py::test_output_behind_a_closed_pipe_ends_the_payload_and_not_sbx",
        "tests/kernel/service/test_log.py::test_a_journal_that_is_slow_loses_nothing",
    ),
    "state is stale, and its numbers are another process's": (
        "tests/kernel/test_host_faults.py::test_who_has_the_number_of_a_dead_sandboxs_process_is_left_alone",
        "tests/kernel/test_forged.py::test_exec_waits_for_nothing_that_a_dead_sandbox_names",
        "tests/kernel/test_records.py::test_the_name_of_a_dead_one_is_free",
    ),
}


@pytest.mark.parametrize("trouble", TESTS)
def test_each_trouble_is_met_by_tests_that_are_there(trouble: str) -> None:
    for test in TESTS[trouble]:
        path, _, name = test.partition("::")
        with open(os.path.join(TREE, path), encoding="utf-8") as file:
            found = ast.parse(file.read())
        functions = {each.name for each in found.body if isinstance(each, ast.FunctionDef)}
        assert name in functions, test
