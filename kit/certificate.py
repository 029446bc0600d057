"""The certificate: an in-toto statement (unsigned for now) that names every digest from source model to report.

The statement's subject is the certified variant; the predicate is ours, since in-toto's test-result knows no
INCONCLUSIVE. Thresholds are decimal strings, as in eval-result v0.1: a float is no contract.
Source: in-toto Attestation Framework, Statement v1.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import msgspec

from kit.errors import CertificateError
from kit.records import Evidence, Finding, Judgement, RunRecord, VariantEvidence, VariantJudgement, Verdict

STATEMENT_TYPE = "https://in-toto.io/Statement/v1"
PREDICATE_TYPE = "urn:edgeproof:certificate:1"


def build(
    run: RunRecord,
    evidence: Evidence,
    judgement: Judgement,
    *,
    emulated: Sequence[str],
    steps: Mapping[str, str],
    files: Mapping[str, str],
) -> dict[str, Any]:
    """The certificate of a judged run.

    Args:
        run: the plan, as it was written before anything was measured.
        evidence: what was measured.
        judgement: what follows from it.
        emulated: every part that was emulated; none means that the certificate speaks of hardware.
        steps: digest of every stored record, by step.
        files: digest of every rendered file, by name.
    """
    chosen = chosen_evidence(evidence, judgement)
    return {
        "_type": STATEMENT_TYPE,
        "subject": [{"name": chosen.variant.model.name, "digest": _digest_set(chosen.variant.model.digest)}],
        "predicateType": PREDICATE_TYPE,
        "predicate": {
            "verdict": judgement.verdict.value,
            "statement": statement(run, evidence, judgement, emulated),
            "certifiesHardware": judgement.verdict is Verdict.PASS and not emulated,
            "emulated": list(emulated),
            "signed": False,
            "assuranceLevel": "self_attested",
            "run": _plain(asdict(run)),
            "tool": {"name": "edgeproof", "version": run.tool_version},
            "lineage": _lineage(run, evidence, chosen),
            "device": _plain(asdict(evidence.device)),
            "chosen": judgement.chosen,
            "whyChosen": judgement.why_chosen,
            "variants": [_variant(item) for item in judgement.variants],
            "records": dict(sorted(steps.items())),
            "files": dict(sorted(files.items())),
        },
    }


def statement(run: RunRecord, evidence: Evidence, judgement: Judgement, emulated: Sequence[str]) -> str:
    """One sentence: what this certificate says, and what it does not."""
    said = (
        f"{judgement.verdict.value}: {judgement.chosen} of {evidence.source.name} on {run.device_name} "
        f"against profile {run.profile_name}."
    )
    if emulated:
        return f"{said} EMULATED ({', '.join(emulated)}): this is a rehearsal and certifies no hardware."
    return said


def chosen_evidence(evidence: Evidence, judgement: Judgement) -> VariantEvidence:
    """The evidence of the chosen variant. Raises CertificateError if there is none of that name."""
    for item in evidence.variants:
        if item.variant.recipe.name == judgement.chosen:
            return item
    raise CertificateError(f"the judgement chose {judgement.chosen!r}, of which there is no evidence")


def to_bytes(certificate: dict[str, Any]) -> bytes:
    """The certificate as UTF-8 JSON with sorted keys, so that equal certificates are equal bytes."""
    return msgspec.json.format(msgspec.json.encode(certificate, order="deterministic"), indent=2) + b"\n"


def parse(data: bytes, *, where: str) -> dict[str, Any]:
    """A certificate from untrusted bytes: the fields that a verifier relies on are there and of the right kind.

    Raises:
        CertificateError: naming `where` and the field.
    """
    try:
        statement_ = msgspec.json.decode(data, type=_Statement)
        raw: dict[str, Any] = msgspec.json.decode(data)
    except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError) as error:
        raise CertificateError(
            f"not an edgeproof certificate: {error}", where=where, next_step="give the certificate.json of a run folder"
        ) from error
    kinds = (statement_.type_, statement_.predicate_type)
    if kinds != (STATEMENT_TYPE, PREDICATE_TYPE):
        raise CertificateError(
            f"a statement of another kind: {kinds[1][:80]!r}",
            where=where,
            next_step=f"this version reads {PREDICATE_TYPE}",
        )
    return raw


class _Predicate(msgspec.Struct):
    verdict: str
    statement: str
    certifiesHardware: bool  # noqa: N815 — the field's name in the document
    emulated: list[str]
    run: dict[str, Any]
    lineage: dict[str, Any]
    chosen: str
    variants: list[dict[str, Any]]
    records: dict[str, str]
    files: dict[str, str]


class _Subject(msgspec.Struct):
    name: str
    digest: dict[str, str]


class _Statement(msgspec.Struct):
    type_: str = msgspec.field(name="_type")
    subject: list[_Subject]
    predicate_type: str = msgspec.field(name="predicateType")
    predicate: _Predicate


def _digest_set(digest: str) -> dict[str, str]:
    algorithm, _, value = digest.partition(":")
    return {algorithm: value}


def _plain(record: dict[str, Any]) -> dict[str, Any]:
    plain: dict[str, Any] = msgspec.to_builtins(record)
    return plain


def _lineage(run: RunRecord, evidence: Evidence, chosen: VariantEvidence) -> dict[str, Any]:
    variant = chosen.variant
    return {
        "sourceModel": {"name": evidence.source.name, "digest": evidence.source.digest},
        "referenceModel": {"name": evidence.reference.name, "digest": evidence.reference.digest},
        "recipe": _plain(asdict(variant.recipe)),
        "calibrationData": {"digest": variant.calibration_digest, "rows": variant.calibration_rows},
        "variant": {
            "name": variant.model.name,
            "digest": variant.model.digest,
            "parentDigest": variant.parent_digest,
            "sizeBytes": variant.model.size_bytes,
        },
        "dataset": {
            "name": run.dataset_name,
            "manifestDigest": run.dataset_digest,
            "fileDigest": evidence.dataset.digest,
            "contentDigest": evidence.dataset.data_digest,
            "rows": evidence.dataset.rows,
        },
        "profile": {"name": run.profile_name, "digest": run.profile_digest},
        "deviceFile": {"name": run.device_name, "digest": run.device_digest},
        "agent": {"version": evidence.device.agent_version, "digest": evidence.device.agent_digest},
        "runtime": {"name": evidence.device.runtime, "version": evidence.device.runtime_version},
    }


def _variant(judged: VariantJudgement) -> dict[str, Any]:
    return {
        "name": judged.variant,
        "digest": judged.digest,
        "verdict": judged.verdict.value,
        "cost": _decimal(judged.cost),
        "costUnit": judged.cost_unit,
        "findings": [_finding(item) for item in judged.findings],
    }


def _finding(finding: Finding) -> dict[str, Any]:
    plain = _plain(asdict(finding))
    for name in ("limit", "estimate", "lower", "upper", "confidence"):
        plain[name] = _decimal(plain[name])
    plain["details"] = {key: _decimal(value) for key, value in finding.details.items()}
    return plain


def _decimal(value: float | None) -> str | None:
    return None if value is None else format(value, ".12g")
