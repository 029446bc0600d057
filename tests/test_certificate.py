"""The certificate: what it says, that it is canonical, and that nothing hostile gets through its reader."""

import json
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kit import certificate
from kit.digest import digest_bytes
from kit.errors import CertificateError
from kit.judge import judge
from kit.records import Evidence, Judgement, RunRecord, Verdict
from tests import builders

FILES = {"report.html": digest_bytes(b"report")}
STEPS = {"latency/fp32": digest_bytes(b"latency")}


def run_record() -> RunRecord:
    digest = digest_bytes(b"input")
    return RunRecord(
        "r1", "2026-01-01T00:00:00Z", "0.1.0", ("edgeproof", "certify", "m.onnx"), 0, digest, "p", digest, "d", digest,
        "dev", digest, ("fp32",),
    )  # fmt: skip


@pytest.fixture(scope="module")
def judged() -> tuple[Evidence, Judgement]:
    evidence = builders.evidence()
    return evidence, judge(evidence, builders.profile(), builders.device())


def build(judged: tuple[Evidence, Judgement], *emulated: str) -> dict:
    evidence, judgement = judged
    return certificate.build(run_record(), evidence, judgement, emulated=emulated, steps=STEPS, files=FILES)


def test_its_subject_is_the_chosen_variant(judged: tuple[Evidence, Judgement]) -> None:
    built = build(judged)
    (subject,) = built["subject"]
    (chosen,) = [v for v in judged[0].variants if v.variant.recipe.name == judged[1].chosen]
    assert "sha256:" + subject["digest"]["sha256"] == chosen.variant.model.digest
    assert built["predicate"]["lineage"]["variant"]["digest"] == chosen.variant.model.digest


def test_it_speaks_of_hardware_only_if_nothing_was_emulated(judged: tuple[Evidence, Judgement]) -> None:
    passing = (judged[0], replace(judged[1], verdict=Verdict.PASS))
    real, rehearsed = build(passing)["predicate"], build(passing, "meter")["predicate"]
    assert real["certifiesHardware"] is True
    assert "EMULATED" not in real["statement"]
    assert rehearsed["certifiesHardware"] is False
    assert rehearsed["emulated"] == ["meter"]
    assert "EMULATED (meter)" in rehearsed["statement"]


@pytest.mark.parametrize("verdict", [Verdict.FAIL, Verdict.INCONCLUSIVE])
def test_what_did_not_pass_certifies_nothing(judged: tuple[Evidence, Judgement], verdict: Verdict) -> None:
    assert build((judged[0], replace(judged[1], verdict=verdict)))["predicate"]["certifiesHardware"] is False


def test_it_says_that_it_is_not_signed(judged: tuple[Evidence, Judgement]) -> None:
    predicate = build(judged)["predicate"]
    assert predicate["signed"] is False
    assert predicate["assuranceLevel"] == "self_attested"


def test_every_finding_of_every_variant_is_in_it_with_decimal_strings(judged: tuple[Evidence, Judgement]) -> None:
    stated = build(judged)["predicate"]["variants"]
    assert [v["name"] for v in stated] == [v.variant for v in judged[1].variants]
    for variant, original in zip(stated, judged[1].variants, strict=True):
        assert len(variant["findings"]) == len(original.findings)
        for finding, source in zip(variant["findings"], original.findings, strict=True):
            assert finding["verdict"] == source.verdict.value
            assert isinstance(finding["limit"], str)
            assert float(finding["limit"]) == pytest.approx(source.limit, rel=1e-11)
            assert (finding["estimate"] is None) == (source.estimate is None)


def test_equal_certificates_are_equal_bytes_and_strict_json(judged: tuple[Evidence, Judgement]) -> None:
    first, second = (certificate.to_bytes(build(judged)) for _ in range(2))
    assert first == second

    def refuse(name: str) -> None:
        raise AssertionError(f"{name} is no JSON")

    assert json.loads(first, parse_constant=refuse)["predicate"]["files"] == FILES


def test_it_reads_back_what_it_wrote(judged: tuple[Evidence, Judgement]) -> None:
    built = build(judged)
    assert certificate.parse(certificate.to_bytes(built), where="c") == json.loads(json.dumps(built))


def test_a_judgement_without_its_evidence_is_refused(judged: tuple[Evidence, Judgement]) -> None:
    evidence, judgement = judged
    with pytest.raises(CertificateError, match="no evidence"):
        certificate.chosen_evidence(evidence, replace(judgement, chosen="another"))


def without(built: dict, *path: str) -> dict:
    copy = json.loads(json.dumps(built))
    node = copy
    for key in path[:-1]:
        node = node[key]
    del node[path[-1]]
    return copy


@pytest.mark.parametrize(
    "path",
    [("_type",), ("subject",), ("predicateType",), ("predicate",)]
    + [("predicate", key) for key in ("verdict", "statement", "emulated", "records", "files", "lineage", "variants")],
)
def test_a_missing_field_is_named(judged: tuple[Evidence, Judgement], path: tuple[str, ...]) -> None:
    with pytest.raises(CertificateError) as caught:
        certificate.parse(json.dumps(without(build(judged), *path)).encode(), where="c.json")
    assert path[-1] in caught.value.what
    assert caught.value.where == "c.json"


def test_a_statement_of_another_kind_is_refused(judged: tuple[Evidence, Judgement]) -> None:
    other = build(judged) | {"predicateType": "https://example.org/other"}
    with pytest.raises(CertificateError, match="another kind"):
        certificate.parse(json.dumps(other).encode(), where="c")


@pytest.mark.parametrize(
    "data", [b"", b"{", b"[]", b"null", b"\xff\xfe", b"[" * 100_000, b'{"a":' * 50_000, b"1e999", b'"' + b"x" * 10**6]
)
def test_what_is_no_certificate_is_one_clear_error(data: bytes) -> None:
    with pytest.raises(CertificateError, match="not an edgeproof certificate") as caught:
        certificate.parse(data, where="c")
    assert caught.value.next_step


@given(st.binary(max_size=200))
@settings(max_examples=200, deadline=None)
def test_random_bytes_are_never_more_than_an_error(data: bytes) -> None:
    with pytest.raises(CertificateError):
        certificate.parse(data, where="c")


@given(st.data())
@settings(max_examples=60, deadline=None)
def test_a_damaged_certificate_is_an_error_or_another_certificate(
    judged: tuple[Evidence, Judgement], data: st.DataObject
) -> None:
    original = bytearray(certificate.to_bytes(build(judged)))
    at = data.draw(st.integers(0, len(original) - 1))
    original[at] ^= data.draw(st.integers(1, 255))
    try:
        parsed = certificate.parse(bytes(original), where="c")
    except CertificateError:
        return
    assert isinstance(parsed["predicate"]["records"], dict)
