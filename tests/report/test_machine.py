import json
from dataclasses import replace

from kit.report.html import embedded_json
from tests import builders
from tests.report import scenes

REQUIREMENT_KEYS = {
    "id", "subject", "unit", "direction", "limit", "estimate", "interval", "confidence", "method", "n", "clusters",
    "obtained", "verdict", "reason", "need",
}  # fmt: skip


def test_summary_is_strict_json_with_every_part() -> None:
    found = scenes.ordinary().summary
    again = json.loads(json.dumps(found, allow_nan=False))
    assert again == json.loads(json.dumps(found))
    parts = {"schema", "run", "verdict", "chosen", "requirements", "variants", "conditions", "lineage", "warnings"}
    assert parts <= found.keys()
    assert found["schema"] == "edgeproof/result/1"
    for requirement in found["requirements"]:
        assert requirement.keys() >= REQUIREMENT_KEYS


def test_summary_agrees_with_the_view() -> None:
    view = scenes.broken()
    found = view.summary
    assert found["verdict"] == view.banner.status == "FAIL"
    chosen = next(v for v in found["variants"] if v["name"] == found["chosen"])
    assert chosen["requirements"] == found["requirements"]
    assert {r["id"] for r in found["requirements"]} == {row.id for row in view.requirements}
    assert found["artifacts"]["judgement"] == builders.digest_of("judgement")


def test_slices_are_named_in_words_in_reasons_and_by_key_in_subjects() -> None:
    slices = [r for r in scenes.broken().summary["requirements"] if "=" in r["subject"]]
    assert slices
    for found in slices:
        assert found["subject"].replace("=", ": ", 1) in found["reason"]
        assert found["subject"] not in found["reason"] + found["sentence"]


def test_absent_is_null_not_zero() -> None:
    absent = frozenset({"latency"})
    view = scenes.view_of(builders.evidence([replace(plan, absent=absent) for plan in builders.PLANS]))
    latency = next(r for r in view.summary["requirements"] if r["metric"] == "latency.p99")
    assert latency["estimate"] is None
    assert latency["interval"] == [None, None]
    assert (latency["obtained"], latency["verdict"], latency["tested"]) == ("absent", "INCONCLUSIVE", False)
    assert "before" not in view.summary["conditions"]


def test_embedded_json_cannot_leave_its_element() -> None:
    hostile = {"name": "</script><!--<script>&\u2028"}
    text = embedded_json(hostile)
    assert not set("<>&\u2028") & set(text)
    assert json.loads(text) == hostile
