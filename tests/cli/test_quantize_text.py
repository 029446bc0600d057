"""Sentences of `edgeproof quantize`: clusters are told where the data has any."""

import pytest

from kit.cli.quantize_text import _lost
from kit.judge import judge
from tests.builders import VariantPlan, device, evidence, profile, requirement


@pytest.mark.parametrize(("clustered", "end"), [(True, ", 2,008 rows, 56 clusters"), (False, "], 2,008 rows")])
def test_rows_that_are_their_own_clusters_have_none(clustered: bool, end: str) -> None:
    given = evidence([VariantPlan("int8", to_wrong=0.01)], clustered=clustered)
    (found,) = judge(given, profile([requirement("accuracy.drop", 0.03)]), device()).variants[0].findings
    assert _lost(found).endswith(end)
