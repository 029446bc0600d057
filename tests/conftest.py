"""What holds for every test: where CI is true a skip is a failure, since CI installs all that the tests need."""

import os
from collections.abc import Generator
from fnmatch import fnmatch
from pathlib import Path

import pytest


@pytest.fixture(scope="session", autouse=True)
def _models_are_kept_apart(tmp_path_factory: pytest.TempPathFactory) -> Generator[None, None, None]:
    """Agents that tests start keep their models in a folder of the test run, not in the user's."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        yield


LONGEST = ("test_readme.py", "test_hostile.py")
"""Modules of a few tests that take minutes: begun first, so that no worker is left alone with one at the end."""


SLOW = (
    "test_other_processor.py::*",
    "test_certify_recipe_from.py::test_a_run_is_resumed*",
    "test_certify_recipe_from.py::test_two_recipes*",
    "test_certify_recipe_from.py::test_the_plan*",
    "test_search.py::test_a_kill*",
    "test_search.py::test_a_second*",
    "test_kill.py::test_a_killed_host*",
    "test_deploy.py::test_a_certificate_of_a_port*",
    "test_convert_tensorflow.py::test_a_conversion_is_verified*",
    "test_convert_torch.py::test_weights*",
    "test_convert_torch.py::test_the_same_class*",
    "test_convert_torch.py::test_a_branch*",
    "test_convert_torch.py::test_a_network_with_dict*",
    "test_hostile.py::*saved-model-[!r]*",
    "test_stopping.py::test_loadgen_s_own_search*",
    "test_simultaneous.py::test_all_bounds_hold_together*",
    "test_records.py::*test_an_emulated_processor_has_no_method*",
    "test_consistency.py::test_no_records_at_all*",
    "test_search.py::test_a_scan_sees_every_conjunction*",
    "test_every_task_on_a_device.py::test_boxes*",
    "test_looking.py::test_an_audit_of_a_real_net*",
    "test_stopping.py::test_independent_samples*",
    "test_frugal.py::test_a_twin_that_agrees*",
    "test_declared_slices.py::test_a_weighted_upper_bound*",
    "test_influence.py::test_neither_end*",
    "test_audit.py::*test_looking_again*",
    "test_workload_records.py::*test_it_goes_on_while*",
    "test_tasks_by_command.py::test_check_without*",
    "test_tasks_by_command.py::test_check[[][!acdrs]*",
    "test_tasks_by_command.py::test_the_largest*[[][!cr]*",
    "test_ending.py::*closing hangs*",
    "test_tasks_by_command.py::test_certify*",
    "test_tasks_by_command.py::test_quantize*",
    "test_kill.py::test_a_killed_agent*",
    "test_search.py::test_ctrl_c_names*",
    "test_search.py::test_a_device_that_dies*",
    "test_search.py::test_a_search_is_not_written_over*",
    "test_search.py::test_less_time*",
    "test_search.py::test_a_folder_that_was_made*",
    "test_search.py::test_the_same_seed*",
    "test_search.py::test_energy_is_the_cost*",
    "test_certify_recipe_from.py::test_a_recipe_that_the_profile*",
    "test_certify_recipe_from.py::test_rows_that_may*",
    "test_check.py::test_a_check_that_was_cut*",
    "test_check.py::test_what_needs_a_clock*",
    "test_certify.py::test_a_model_of_someone_else*",
    "test_bench.py::test_what_was_measured_outlives_any_end*agent*",
    "test_bench.py::test_what_was_measured_outlives_any_end*interrupt*",
    "test_deploy.py::test_a_killed_host*",
    "test_bad_input.py::test_a_run_is_not_resumed*model*",
    "test_bad_input.py::test_a_run_is_not_resumed*profile*",
    "test_every_link.py::test_a_certificate*key*",
    "test_not_made.py::test_a_forest*",
    "test_devices.py::*test_each_ailment*slower-steady*",
    "test_devices.py::*test_each_ailment*jumping-clock*",
    "test_devices.py::*test_each_ailment*altered-echo*",
    "test_devices.py::*test_a_line_is_held_to_its_rate*",
    "test_convert.py::test_what_cannot_be*rows of shape*",
    "test_convert_trees.py::test_a_conversion_that_onnxmltools*",
    "test_convert_trees.py::test_lightgbms_own*",
    "test_convert_rows.py::*test_a_bomb_of_zeros*",
    "test_convert_sklearn.py::test_real_models*histogram*",
    "test_convert_torch.py::test_training_mode*",
    "test_hostile.py::*saved-model-reads*",
    "test_hostile.py::*external-parent-inside*",
    "test_hostile.py::*external-dot*",
    "test_hostile.py::*external-empty*",
    "test_hostile.py::*external-negative*",
    "test_hostile.py::*external-proc*",
    "test_hostile.py::*laughs-deeper*",
    "test_hostile.py::*dims-product*",
    "test_hostile.py::*ir-version-far*",
    "test_mlperf_tiny.py::test_a_board_that_stops*deaf*",
    "test_mlperf_tiny.py::test_no_result_of_a_rebooted*47*",
    "test_mlperf_tiny.py::test_noise*",
    "test_line.py::test_faults_are_as_many*doubles*",
    "test_line.py::test_faults_are_as_many*flips*",
    "test_line.py::test_faults_are_as_many*noise*",
    "test_usb_meter.py::*test_a_late_answer*1.6*",
)
"""Slow tests that are proofs, where others of their module show the same in less: `make proofs`."""


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The longest modules first, all else in its order; slow tests are proofs."""
    for item in items:
        if any(fnmatch(f"{Path(item.path).name}::{item.name}", pattern) for pattern in SLOW):
            item.add_marker("proof")
    items.sort(key=lambda item: LONGEST.index(name) if (name := Path(item.path).name) in LONGEST else len(LONGEST))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Turn a skip into a failure that gives its reason."""
    report = yield
    if report.skipped and not hasattr(report, "wasxfail") and os.environ.get("CI") == "true":
        report.outcome = "failed"
        report.longrepr = f"{item.nodeid} was skipped, and CI skips nothing: {report.longrepr}"
    return report
