"""The sections about data, membership and explanations, as views, as text and as HTML with hostile names."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from kit.judge.base import Case
from kit.judge.data import judge_data
from kit.judge.explanation import judge_explanation
from kit.judge.membership import judge_membership
from kit.records import (
    DataCheck,
    DataRecord,
    Evidence,
    ExplanationRecord,
    FlippedRow,
    Judgement,
    MembershipRecord,
    VariantJudgement,
    Verdict,
)
from kit.report.sections.data import build_data, data_lines
from kit.report.sections.explanations import build_explanations, explanation_lines
from kit.report.sections.membership import build_membership, membership_lines
from kit.resources import resource_dir
from tests.builders import VariantPlan, device, evidence, profile, requirement

HOSTILE = '<script>alert("x")</script>'
ASKED = (
    requirement("data.leaked", 0.01),
    requirement("privacy.membership", 0.05),
    requirement("explanation.agreement", 0.8, direction="at_least"),
)
DATA = DataRecord("sha256:data", (
    DataCheck("data.missing", "metadata", 0.0, 200, (), "0 of 200 rows."),
    DataCheck("data.shifted", "classes", 0.2, 200, (), "Classes differ.", 0.3),
    DataCheck("data.leaked", "exact copies in train", 0.04, 200, (3,), f"8 of 200 rows, {HOSTILE}."),
    DataCheck("data.lagged", "channels", None, 200, (), "Not looked at: no recordings."),
    DataCheck("data.wrong", "stuck", 0.1, 200, (3,), "20 of 200 rows."),
))  # fmt: skip


def audit(seed: int, gap: float) -> MembershipRecord:
    rng = np.random.default_rng(seed)
    return MembershipRecord(
        "m", "d", "loss", rng.normal(gap, 1, 100), rng.normal(-gap, 1, 100), np.arange(100), np.arange(100)
    )


def explained(features: int = 15) -> ExplanationRecord:
    rng = np.random.default_rng(0)
    before = np.arange(features, 0, -1) + 0.1 * rng.normal(size=(8, features))
    flips = (
        FlippedRow(7, 0, 1, (HOSTILE, "input 2"), (1.0, 2.0), (1.5, 2.25), 0.25),
        FlippedRow(9, 1, 2, (), (), (), None),
        FlippedRow(11, 1, 0, tuple(f"input {i}" for i in range(6)), (0.0,) * 6, (1.0,) * 6, 2.0),
    )
    names = (HOSTILE, *(f"input {i}" for i in range(1, features)))
    return ExplanationRecord("m", "d", names, before, before[:, ::-1], np.empty(0, np.int64), None, None, flips, 0)


@pytest.fixture
def run() -> tuple[Evidence, Judgement]:
    given = evidence((VariantPlan(),), rows=200, clusters=20)
    variant = replace(given.variants[0], membership=audit(1, 0.5), explanation=explained())
    given = replace(given, variants=(variant,), data=DATA, reference_membership=audit(0, 0.1))
    findings = []
    for asked, judge in zip(ASKED, (judge_data, judge_membership, judge_explanation), strict=True):
        findings += judge(Case(asked, variant, given, profile(ASKED), device()))
    name = variant.variant.recipe.name
    judged = VariantJudgement(name, variant.variant.model.digest, Verdict.FAIL, tuple(findings), 1.0, "B")
    return given, Judgement(Verdict.FAIL, name, "it breaks least", (judged,), "sha256:profile")


def page(template: str, **views: object) -> str:
    environment = Environment(
        loader=FileSystemLoader(resource_dir("reports")), autoescape=True, undefined=StrictUndefined
    )
    source = '{% macro badge(status, sign) %}[{{ sign }} {{ status }}]{% endmacro %}{% include "' + template + '" %}'
    return environment.from_string(source).render(v=SimpleNamespace(**views))


def test_data_worst_first_with_verdicts_where_they_were_asked_for(run):
    given, judgement = run
    view = build_data(given, judgement.variants[0])
    assert view is not None
    assert [row.status for row in view.rows] == ["FAIL", "found", "not looked at", "", ""]
    assert [row.name for row in view.rows] == ["leaked", "wrong", "lagged", "missing", "shifted"]
    assert view.headline == "2 faults in 5 looks at the data; 1 look could not be taken."
    assert len(data_lines(view)) == 3
    html = page("data.html.j2", data=view)
    before, folded = html.split("<details>")
    assert "2 looks found nothing" in folded
    assert [each.name for each in view.silent] == ["missing", "shifted"]
    assert all(word in before for word in ("leaked", "stuck", "channels"))
    assert HOSTILE not in html
    assert "&lt;script&gt;" in html
    assert "4.00" in html


def test_membership_of_the_reference_and_of_each_variant(run):
    given, judgement = run
    view = build_membership(given, judgement)
    assert view is not None
    assert [row.name for row in view.rows] == ["reference", judgement.chosen]
    assert view.rows[1].low < view.rows[1].at < view.rows[1].high
    assert view.rows[1].status == "FAIL"
    assert view.rows[0].at < view.rows[1].at
    assert "tells members with an advantage" in view.headline
    assert len(membership_lines(view)) == 3
    assert "FAIL" in page("membership.html.j2", membership=view)


def test_explanations_show_the_top_and_what_flips_back(run):
    given, judgement = run
    view = build_explanations(given, given.variants[0], judgement.variants[0])
    assert view is not None
    assert view.status == "FAIL"
    assert len(view.features) == 12
    assert view.hidden == 3
    assert view.features[0].ranks == "1 to 15"
    assert view.features[7].ranks == "same"
    assert [flip.distance for flip in view.flips] == ["0.25 SD", "", "2 SD"]
    assert view.flips[1].change == "none found within the budget"
    assert view.flips[2].change.endswith(", and 2 more")
    assert "Of 3 flipped rows looked at, 2 could be flipped back." in view.headline
    assert any(line.startswith("row 7, ") for line in explanation_lines(view))
    html = page("explanations.html.j2", explanations=view)
    assert HOSTILE not in html
    assert "&lt;script&gt;" in html


def test_what_was_not_done_has_no_section(run):
    given, judgement = run
    bare = evidence((VariantPlan(),), rows=200, clusters=20)
    assert build_data(bare, None) is None
    assert build_membership(bare, judgement) is None
    assert build_membership(given, replace(judgement, variants=())) is None
    assert build_explanations(bare, bare.variants[0], None) is None
    for template in ("data", "membership", "explanations"):
        assert page(f"{template}.html.j2", **{template: None}).strip() == ""


def test_sections_stand_without_requirements(run):
    given, _ = run
    view = build_explanations(given, given.variants[0], None)
    assert view is not None
    assert view.reason == ""
    assert build_data(given, None) is not None
