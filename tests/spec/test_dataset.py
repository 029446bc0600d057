import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from kit.errors import DatasetError, EdgeproofError, MissingExtraError, SpecError
from kit.spec.dataset import load_dataset
from tests.spec.bundle import CLASSES, INPUT_COLUMNS, Bundle, columns

KINDS = ["npz", "csv", "parquet"]


@pytest.fixture(params=KINDS)
def bundle(request: pytest.FixtureRequest, tmp_path: Path) -> Bundle:
    return Bundle(tmp_path, request.param)


def refused(bundle: Bundle) -> EdgeproofError:
    manifest = bundle.write()
    with pytest.raises(DatasetError) as caught:
        load_dataset(manifest)
    assert caught.value.next_step
    assert str(caught.value).isprintable()
    return caught.value


def cell(bundle: Bundle, row: int, value: int) -> str:
    """How an input value's place is written in each format."""
    column = f"x[{value}]" if bundle.kind == "npz" else INPUT_COLUMNS[value]
    return f"{bundle.part_path()}: row {row} (from 0), column {column}"


def test_a_dataset_as_records(bundle: Bundle) -> None:
    dataset = load_dataset(bundle.write())
    assert (dataset.name, dataset.task, dataset.classes) == ("small", "classification", tuple(CLASSES))
    assert (dataset.slice_columns, dataset.output_name) == (("side", "subject"), None)
    test, calibration = dataset.test, dataset.calibration
    assert calibration is not None
    assert (test.role, calibration.role, calibration.record.rows) == ("test", "calibration", 6)
    assert test.inputs.dtype == np.float32
    np.testing.assert_array_equal(test.inputs, bundle.parts["test"]["x"])
    record = test.record
    assert (record.rows, record.cluster_column) == (12, "recording")
    assert record.labels.tolist() == [0, 1, 2] * 4
    assert record.cluster.tolist() == [row // 2 for row in range(12)]
    assert record.columns["side"].values == ("left", "right")
    assert record.columns["side"].codes.tolist() == [0, 1] * 6
    assert record.columns["subject"].values == ("7", "8", "9")
    for array in (record.labels, record.cluster, record.columns["side"].codes):
        assert array.dtype == np.int64


def test_the_data_digest_is_of_the_content_and_not_of_the_file(tmp_path: Path) -> None:
    records = []
    for kind in KINDS:
        (tmp_path / kind).mkdir()
        records.append(load_dataset(Bundle(tmp_path / kind, kind).write()).test.record)
    assert len({record.data_digest for record in records}) == 1
    assert len({record.digest for record in records}) == 3


@pytest.mark.parametrize("name", ["x", "label", "side", "recording"])
def test_the_data_digest_changes_with_each_column(tmp_path: Path, name: str) -> None:
    bundle = Bundle(tmp_path)
    before = load_dataset(bundle.write()).test.record.data_digest
    array = bundle.parts["test"][name]
    array[0] = array[1] if array.dtype.kind == "U" else 7
    assert load_dataset(bundle.write()).test.record.data_digest != before


def test_numbers_sort_as_numbers_and_rows_without_a_cluster_stand_alone(bundle: Bundle) -> None:
    bundle.parts["test"]["subject"] = np.array([10, 9, 100] * 4)
    del bundle.dataset["cluster"]
    record = load_dataset(bundle.write()).test.record
    assert record.columns["subject"].values == ("9", "10", "100")
    assert record.cluster_column is None
    assert record.cluster.tolist() == list(range(12))


def test_one_value_everywhere_and_no_calibration_are_fine(bundle: Bundle) -> None:
    bundle.parts["test"]["side"] = np.array(["left"] * 12)
    del bundle.parts["calibration"]
    dataset = load_dataset(bundle.write())
    assert dataset.calibration is None
    assert dataset.test.record.columns["side"].values == ("left",)


def test_labels_may_be_indices(bundle: Bundle) -> None:
    bundle.parts["test"]["label"] = np.arange(12) % 3
    assert load_dataset(bundle.write()).test.record.labels.tolist() == [0, 1, 2] * 4


def test_classes_named_by_numbers_are_names_and_never_indices(bundle: Bundle) -> None:
    bundle.dataset["classes"] = ["1", "2", "3"]
    for part in bundle.parts.values():
        part["label"] = np.arange(len(part["label"])) % 3 + 1
    assert load_dataset(bundle.write()).test.record.labels.tolist() == [0, 1, 2] * 4
    bundle.parts["test"]["label"][5] = 0
    assert "row 5 (from 0), column label" in refused(bundle).where


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_a_number_that_is_not_finite(bundle: Bundle, bad: float) -> None:
    bundle.parts["test"]["x"][[3, 7, 7], [2, 0, 1]] = bad
    error = refused(bundle)
    assert error.where == cell(bundle, 3, 2)
    assert str(bad) in error.what
    assert "3 such values in 2 rows" in error.what


@pytest.mark.parametrize(("bad", "words"), [(51.5, "above the maximum 50"), (-51.5, "below the minimum -50")])
def test_a_value_out_of_range(bundle: Bundle, bad: float, words: str) -> None:
    bundle.parts["test"]["x"][11, 3] = bad
    error = refused(bundle)
    assert error.where == cell(bundle, 11, 3)
    assert f"{bad} is {words}" in error.what


def test_a_label_outside_the_classes(bundle: Bundle) -> None:
    labels = bundle.parts["test"]["label"].astype("U9")
    labels[7] = "wlak"
    bundle.parts["test"]["label"] = labels
    error = refused(bundle)
    assert error.where == f"{bundle.part_path()}: row 7 (from 0), column label"
    assert error.what == '"wlak" is not one of the 3 classes'
    assert error.next_step == 'did you mean "walk"?'


@pytest.mark.parametrize("index", [-1, 3, 10**17])
def test_a_label_index_outside_the_classes(bundle: Bundle, index: int) -> None:
    bundle.parts["test"]["label"] = np.arange(12) % 3
    bundle.parts["test"]["label"][4] = index
    assert refused(bundle).where == f"{bundle.part_path()}: row 4 (from 0), column label"


@pytest.mark.parametrize("name", ["label", "side", "recording"])
@pytest.mark.parametrize("empty", ["", "  "])
def test_a_missing_metadata_value(bundle: Bundle, name: str, empty: str) -> None:
    values = bundle.parts["test"][name].astype("U9")
    values[5] = empty
    bundle.parts["test"][name] = values
    error = refused(bundle)
    assert error.where == f"{bundle.part_path()}: row 5 (from 0), column {name}"
    assert error.what == "the value is missing"


@pytest.mark.parametrize(
    ("bad", "words"),
    [
        ("\x1b[31mPASS", "hidden character (U+001B)"),
        ("\u202eSSAP", "hidden character (U+202E)"),
        ("a\u200bb", "hidden character (U+200B)"),
        ("a\u2028b", "hidden character (U+2028)"),
        ("a\tb", "hidden character (U+0009)"),
        ("a\nb", "hidden character (U+000A)"),
        ("l" * 201, "201 characters"),
    ],
)
def test_metadata_that_would_spoil_a_terminal(bundle: Bundle, bad: str, words: str) -> None:
    values = bundle.parts["test"]["side"].astype("U300")
    values[2] = bad
    bundle.parts["test"]["side"] = values
    error = refused(bundle)
    assert error.where == f"{bundle.part_path()}: row 2 (from 0), column side"
    assert words in error.what


@pytest.mark.parametrize("name", ["label", "side", "recording"])
def test_a_column_that_is_not_there(bundle: Bundle, name: str) -> None:
    part = bundle.parts["test"]
    bundle.parts["test"] = {("label" if name != "label" else "labels"): part["label"]} | {
        other: part[other] for other in part if other not in (name, "label")
    }
    if name == "label":
        bundle.rows["test"] = 12
        bundle.raw["test"] = bundle.encode(bundle.parts["test"])
        bundle.parts["test"]["label"] = part["label"]
    error = refused(bundle)
    assert error.where == str(bundle.part_path())
    assert f'"{name}"' in error.what
    if name == "label":
        assert error.next_step == 'did you mean "labels"?'


def test_inputs_that_are_not_there(tmp_path: Path) -> None:
    bundle = Bundle(tmp_path, "npz", input={"array": "windows", "dtype": "float32", "shape": [4]})
    assert 'there is no array "windows"' in refused(bundle).what
    bundle = Bundle(tmp_path, "csv", input={"columns": ["ax*", "gx*"], "dtype": "float32", "shape": [4]})
    assert 'there is no column "gx*"' in refused(bundle).what


def test_inputs_named_in_the_other_format_s_way(bundle: Bundle) -> None:
    # `columns` for an NPZ file, `array` for a table.
    manifest = bundle.write()
    text = manifest.read_text()
    swapped = 'columns = ["ax*"]' if bundle.kind == "npz" else 'array = "x"'
    ours = 'array = "x"' if bundle.kind == "npz" else 'columns = ["ax*", "ay*"]'
    manifest.write_text(text.replace(ours, swapped))
    with pytest.raises(DatasetError, match="needs"):
        load_dataset(manifest)


def test_columns_that_do_not_fill_the_shape_or_hold_the_label(tmp_path: Path) -> None:
    for kind in ("csv", "parquet"):
        bundle = Bundle(tmp_path, kind)
        bundle.input["columns"] = ["ax*"]
        assert "2 input columns, and the shape [4] has 4 values" in refused(bundle).what
        bundle.input["columns"] = ["a*", "label"]
        assert 'column "label" is an input and also label' in refused(bundle).what


@pytest.mark.parametrize("rows", [11, 13])
def test_another_number_of_rows(bundle: Bundle, rows: int) -> None:
    bundle.rows["test"] = rows
    error = refused(bundle)
    assert error.where.startswith(str(bundle.part_path()))
    assert f"the manifest says {rows}" in error.what


def test_no_rows_at_all(bundle: Bundle) -> None:
    bundle.parts["test"] = columns(0, 1)
    manifest = bundle.write()
    with pytest.raises(SpecError, match=r"part\[0\]\.rows: expected a whole number >= 1"):
        load_dataset(manifest)
    bundle.rows["test"] = 1
    assert "has 0 rows, and the manifest says 1" in refused(bundle).what


def test_a_file_that_has_changed(bundle: Bundle) -> None:
    manifest = bundle.write()
    path = bundle.part_path()
    path.write_bytes(path.read_bytes() + b"\n")
    with pytest.raises(DatasetError, match="the file has changed: its SHA-256 is") as caught:
        load_dataset(manifest)
    assert caught.value.where == str(path)
    line = manifest.read_text().split("\n").index(next(x for x in manifest.read_text().split("\n") if "sha256" in x))
    assert f"{manifest}:{line + 1}" in caught.value.next_step


def test_rows_that_calibrate_must_not_judge(bundle: Bundle) -> None:
    bundle.parts["test"]["x"][9] = bundle.parts["calibration"]["x"][4]
    error = refused(bundle)
    assert error.where == f"{bundle.part_path()}: row 9 (from 0)"
    assert f"row 4 (from 0) of calibration.{bundle.kind}" in error.what


def test_rows_to_select_on_are_a_part_of_their_own(bundle: Bundle) -> None:
    bundle.parts["selection"] = columns(9, 3)
    dataset = load_dataset(bundle.write())
    assert dataset.selection is not None
    assert (dataset.selection.role, dataset.selection.record.rows) == ("selection", 9)
    np.testing.assert_array_equal(dataset.selection.inputs, bundle.parts["selection"]["x"])
    assert dataset.selection.record.labels.tolist() == [0, 1, 2] * 3
    assert (dataset.test.record.rows, dataset.calibration and dataset.calibration.record.rows) == (12, 6)
    del bundle.parts["selection"]
    assert load_dataset(bundle.write()).selection is None


def test_rows_that_select_must_not_judge(bundle: Bundle) -> None:
    bundle.parts["selection"] = columns(9, 3)
    bundle.parts["selection"]["x"][7] = bundle.parts["test"]["x"][2]
    error = refused(bundle)
    assert error.where == f"{bundle.part_path()}: row 2 (from 0)"
    where = f"the first is row 7 (from 0) of selection.{bundle.kind}"
    assert error.what == f"the same inputs select the variant, of 1 of 12 test rows; {where}"
    assert "limit data.leaked in the profile" in (error.next_step or "")


def test_all_rows_in_both_parts_are_counted(bundle: Bundle) -> None:
    bundle.parts["selection"] = columns(9, 3)
    bundle.parts["selection"]["x"][:5] = bundle.parts["test"]["x"][3:8]
    assert "of 5 of 12 test rows; the first is row 0 (from 0)" in refused(bundle).what


def test_rows_may_both_calibrate_and_select(bundle: Bundle) -> None:
    bundle.parts["selection"] = columns(9, 3)
    bundle.parts["selection"]["x"][:6] = bundle.parts["calibration"]["x"]
    assert load_dataset(bundle.write()).selection is not None


def test_the_same_role_twice_and_a_fourth_part_are_refused(tmp_path: Path) -> None:
    bundle = Bundle(tmp_path)
    bundle.parts["selection"] = columns(9, 3)
    manifest = bundle.write()
    text = manifest.read_text()
    selection = text[text.rindex("[[part]]") :]
    manifest.write_text(text.replace('"calibration"', '"selection"'))
    with pytest.raises(SpecError, match='a second part with the role "selection"'):
        load_dataset(manifest)
    manifest.write_text(text + "\n" + selection)
    with pytest.raises(SpecError):
        load_dataset(manifest)


def test_a_slice_column_with_a_value_a_row_is_none(bundle: Bundle) -> None:
    bundle.parts["test"] = columns(1200, 1) | {"side": np.arange(1200)}
    assert "1200 different values" in refused(bundle).what


@pytest.mark.parametrize("cut", [0, 1, 10, 100, -1])
def test_a_truncated_file(bundle: Bundle, cut: int) -> None:
    whole = bundle.encode(bundle.parts["test"])
    bundle.raw["test"] = whole[:cut] if cut != -1 else whole[: len(whole) // 2]
    assert refused(bundle).where.startswith(str(bundle.part_path()))


@pytest.mark.parametrize("seed", range(8))
def test_a_damaged_file_is_a_dataset_or_a_dataset_error(bundle: Bundle, seed: int) -> None:
    rng = np.random.default_rng(seed)
    whole = bundle.encode(bundle.parts["test"])
    for _ in range(25):
        content = bytearray(whole)
        for position in rng.integers(0, len(content), 3):
            content[position] = rng.integers(256)
        bundle.raw["test"] = bytes(content)
        manifest = bundle.write()
        assert _outcome(manifest) in (None, "dataset")


def _outcome(manifest: Path) -> str | None:
    try:
        load_dataset(manifest)
    except EdgeproofError as error:
        return error.slug
    return None


@pytest.mark.parametrize(
    ("old", "new", "offset", "what", "next_step"),
    [
        ('"classification"', '"telling"', 0, "'telling' is not known here", "known: anomaly, classification"),
        ('["rest", "walk", "run"]', '["rest", "rest"]', 0, '"rest" is listed twice', "once"),
        ('["rest", "walk", "run"]', '["rest"]', 0, "the task classification has at least 2 classes", "`classes`"),
        ('["side", "subject"]', '["side", "side"]', 0, '"side" is listed twice', "once"),
        ('array = "x"\n', "", -1, "needs `array` (NPZ) or `columns`", "keep one"),
        ('array = "x"', 'array = "x"\ncolumns = ["a"]', -1, "and not both", "keep one"),
        ("minimum = -50.0", "minimum = 51.0", 0, "leave no value between them", "check both"),
        ('"float32"', '"float"', 0, "'float' is not known here", 'did you mean "float'),
        ("shape = [4]", "shape = [0]", 0, "expected a whole number >= 1", "shape"),
        ('label = "label"\n', "", -2, "dataset.task: the task classification needs label", "column"),
        ('role = "test"', 'role = "calibration"', 6, 'a second part with the role "calibration"', "keep one"),
        ('role = "test"', 'role = "judge"', 0, "'judge' is not known here", "calibration, selection, test"),
        ('path = "test.npz"', 'path = "../test.npz"', 0, "outside the manifest's folder", "beside the manifest"),
        ('path = "test.npz"', 'path = "/etc/hostname"', 0, "outside the manifest's folder", "beside the manifest"),
        ('path = "test.npz"', 'path = "tset.npz"', 0, 'there is no file "tset.npz"', "relative to the manifest"),
        ('path = "test.npz"', 'path = "."', 0, 'there is no file "."', "relative to the manifest"),
        ('path = "test.npz"', f'path = "{"l" * 900}"', 0, "not a usable path", "beside the manifest"),
        ("rows = 12", "rows = 1.5", 0, "expected a whole number, got a number", "number of rows"),
    ],
)
def test_each_mistake_in_a_manifest_names_its_line(
    tmp_path: Path, old: str, new: str, offset: int, what: str, next_step: str
) -> None:
    manifest = Bundle(tmp_path).write()
    text = manifest.read_text()
    assert old in text
    line = text[: text.index(old)].count("\n") + 1
    manifest.write_text(text.replace(old, new, 1))
    with pytest.raises(SpecError) as caught:
        load_dataset(manifest)
    assert what in caught.value.what
    assert next_step in caught.value.next_step
    assert caught.value.where == f"{manifest}:{line + offset}"


def test_a_link_that_leads_out_of_the_folder(tmp_path: Path) -> None:
    folder = tmp_path / "inner"
    folder.mkdir()
    bundle = Bundle(folder)
    manifest = bundle.write()
    bundle.part_path().rename(tmp_path / "test.npz")
    bundle.part_path().symlink_to(tmp_path / "test.npz")
    with pytest.raises(SpecError, match="outside the manifest's folder"):
        load_dataset(manifest)


def test_a_pipe_is_no_part(tmp_path: Path) -> None:
    bundle = Bundle(tmp_path)
    manifest = bundle.write()
    bundle.part_path().unlink()
    os.mkfifo(bundle.part_path())
    with pytest.raises(SpecError, match="there is no file"):
        load_dataset(manifest)


def test_an_unknown_kind_of_file(tmp_path: Path) -> None:
    bundle = Bundle(tmp_path)
    manifest = bundle.write()
    bundle.part_path().rename(tmp_path / "test.pkl")
    manifest.write_text(manifest.read_text().replace("test.npz", "test.pkl"))
    with pytest.raises(DatasetError, match=r'unknown kind of file "\.pkl"'):
        load_dataset(manifest)


def test_inputs_larger_than_the_limit_are_refused_before_they_are_read(bundle: Bundle) -> None:
    bundle.rows["test"] = 2**30
    assert "at most 2 GiB are read" in refused(bundle).what


def test_the_output_may_be_named(tmp_path: Path) -> None:
    manifest = Bundle(tmp_path).write()
    manifest.write_text(manifest.read_text() + '\n[output]\nname = "prob1"\n')
    assert load_dataset(manifest).output_name == "prob1"


def test_parquet_without_its_library_names_the_install_command(tmp_path: Path) -> None:
    manifest = Bundle(tmp_path, "parquet").write()
    # A fresh interpreter in which pyarrow cannot be imported, as where it is not installed.
    code = (
        "import sys; sys.modules['pyarrow'] = None\n"
        "from kit.errors import MissingExtraError\n"
        "from kit.spec import load_dataset\n"
        "try:\n    load_dataset(sys.argv[1])\n"
        "except MissingExtraError as error:\n    print(error.next_step)\n"
    )
    done = subprocess.run([sys.executable, "-c", code, str(manifest)], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == 'pip install "edgeproof[parquet]"'
    assert issubclass(MissingExtraError, EdgeproofError)


def test_neither_pandas_nor_pyarrow_is_imported_for_npz(tmp_path: Path) -> None:
    manifest = Bundle(tmp_path).write()
    code = (
        "import sys; from kit.spec import load_dataset; load_dataset(sys.argv[1])\n"
        "print([name for name in ('pandas', 'pyarrow', 'onnx', 'onnxruntime') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code, str(manifest)], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_the_shape_may_have_several_dimensions(bundle: Bundle) -> None:
    for part in bundle.parts.values():
        part["x"] = part["x"].reshape(-1, 2, 2) if bundle.kind == "npz" else part["x"]
    bundle.input["shape"] = [2, 2]
    dataset = load_dataset(bundle.write())
    assert dataset.test.inputs.shape == (12, 2, 2)
    flat: Any = bundle.parts["test"]["x"].reshape(-1) if bundle.kind == "npz" else bundle.parts["test"]["x"]
    flat[3 * 4 + 2 if bundle.kind == "npz" else (3, 2)] = np.nan
    place = "x[1, 0]" if bundle.kind == "npz" else "ay0"
    assert refused(bundle).where.endswith(f"row 3 (from 0), column {place}")


def copied(tmp_path: Path, rows: int, copies: list[tuple[int, int]], cluster: list[int] | None) -> Path:
    """A test part of which the second row of each pair is a copy of the first."""
    part = columns(rows, 3)
    for original, copy in copies:
        part["x"][copy] = part["x"][original]
    bundle = Bundle(tmp_path, parts={"test": part})
    if cluster is None:
        del bundle.dataset["cluster"]
    else:
        part["recording"] = np.array(cluster)
    return bundle.write()


@pytest.mark.parametrize("clustered", [False, True])
def test_copies_of_rows_do_not_count_as_independent_ones(tmp_path: Path, clustered: bool) -> None:
    cluster = list(range(300)) if clustered else None
    with pytest.raises(DatasetError) as caught:
        load_dataset(copied(tmp_path, 300, [(250, 8), (250, 299), (40, 41)], cluster))
    assert caught.value.where == f"{tmp_path / 'test.npz'}: row 8 (from 0)"
    assert "5 of 300 rows have the same inputs as a row of another cluster" in caught.value.what
    assert "row 250 (from 0) is a copy" in caught.value.what
    assert "leave out the copies" in caught.value.next_step
    assert "`cluster`" in caught.value.next_step


def test_copies_within_a_cluster_and_a_rare_coincidence_are_allowed(tmp_path: Path) -> None:
    assert load_dataset(copied(tmp_path, 300, [(0, row) for row in range(1, 150)], [0] * 150 + list(range(1, 151))))
    assert load_dataset(copied(tmp_path, 300, [(10, 20)], None))  # 2 of 300 rows


def test_one_row_two_thousand_times_is_no_evidence(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=r"row 0 \(from 0\): 2000 of 2000 rows"):
        load_dataset(copied(tmp_path, 2000, [(0, row) for row in range(2000)], list(range(2000))))
