"""Copies that a profile limits, in rows that have no clusters: the run is judged, and the copies are one input."""

import json
from pathlib import Path

import numpy as np

from kit.digest import digest_file
from tests.digits_case import write_case
from tests.integration.conftest import Edgeproof
from tests.integration.in_process import edgeproof  # noqa: F401 - the command, in this process

COPIES = '\n[[require]]\nid = "copies"\nmetric = "data.duplicates"\nat_most = "5 %"\n'


def test_copies_among_rows_without_clusters_are_judged(tmp_path: Path, edgeproof: Edgeproof) -> None:  # noqa: F811
    case = write_case(tmp_path)
    case.profile.write_text(case.profile.read_text() + COPIES)
    part = case.folder / "test.npz"
    with np.load(part) as file:
        columns = {name: file[name] for name in file.files}
    columns["x"][5:8], before = columns["x"][4], digest_file(part)
    np.savez(part, **columns)
    text = case.data.read_text().replace('cluster = "page"\n', "")
    case.data.write_text(text.replace(before[7:], digest_file(part)[7:]))
    done = edgeproof("check", case.model, case.model, *case.words("--json")[1:], cwd=tmp_path)
    assert done.returncode in (0, 1, 3), done.stderr
    found = {item["id"]: item for item in json.loads(done.stdout)["requirements"]}
    assert found["copies"]["verdict"] == "PASS"
    assert "of 1,097 rows in 1,094 distinct inputs" in found["accuracy"]["reason"]
