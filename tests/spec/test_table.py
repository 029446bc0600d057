import io
import time
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow
import pyarrow.parquet
import pytest

from kit.errors import DatasetError
from kit.spec.dataset import load_dataset
from kit.spec.rows import Layout
from kit.spec.table import read_csv
from tests.spec.bundle import Bundle, flat


def refused(bundle: Bundle) -> DatasetError:
    manifest = bundle.write()
    with pytest.raises(DatasetError) as caught:
        load_dataset(manifest)
    assert caught.value.next_step
    return caught.value


def lines(bundle: Bundle) -> list[str]:
    return bundle.encode(bundle.parts["test"]).decode().splitlines()


@pytest.fixture
def table(tmp_path: Path) -> Bundle:
    return Bundle(tmp_path, "csv")


@pytest.mark.parametrize(("bad", "words"), [("fast", '"fast" is no float32'), ("", "the value is missing")])
def test_a_cell_that_is_no_number(table: Bundle, bad: str, words: str) -> None:
    text = lines(table)
    cells = text[6].split(",")
    cells[2] = bad
    text[6] = ",".join(cells)
    table.raw["test"] = "\n".join(text).encode()
    error = refused(table)
    assert error.where == f"{table.part_path()}: row 5 (from 0), column ay0"
    assert error.what == words


@pytest.mark.parametrize("cells", [7, 9])
def test_a_row_with_other_than_the_header_s_cells(table: Bundle, cells: int) -> None:
    text = lines(table)
    text[4] = ",".join(["1"] * cells)
    table.raw["test"] = "\n".join(text).encode()
    error = refused(table)
    assert error.where == f"{table.part_path()}:5: row 3 (from 0)"
    assert error.what == f"{cells} cells, and the header has 8"


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda text: "", "the file has no columns"),
        (lambda text: text.replace("ax1", "ax0", 1), "two columns are named 'ax0'"),
        (lambda text: text + '\n"never closed', "not valid CSV"),
        (lambda text: text.replace("left", '"le"ft', 1), "not valid CSV"),
        (lambda text: text.replace("left", "l" * 200_000, 1), "field larger than field limit"),
        (lambda text: text + "\n" + "ab," * (6 << 20), "a row of more than 16777216 characters"),
        (lambda text: text + "\n" + '"\nab",' * (3 << 20), "a row of more than 16777216 characters"),
        (lambda text: text.replace("left", "l\xe9ft", 1).encode("latin-1"), "not UTF-8 text"),
    ],
)
def test_what_is_no_csv(table: Bundle, spoil: Any, words: str) -> None:
    content = spoil("\n".join(lines(table)))
    table.raw["test"] = content if isinstance(content, bytes) else content.encode()
    error = refused(table)
    assert error.where.startswith(str(table.part_path()))
    assert words in error.what


def test_byte_order_mark_blank_lines_quotes_and_windows_line_ends(table: Bundle) -> None:
    plain = load_dataset(table.write()).test.record.data_digest
    text = [*lines(table)[:5], "", *lines(table)[5:], ""]
    table.raw["test"] = "\r\n".join(text).replace("left", '"left"').encode("utf-8-sig")
    assert load_dataset(table.write()).test.record.data_digest == plain


def test_words_that_other_readers_take_for_missing_are_kept(table: Bundle) -> None:
    table.raw["test"] = "\n".join(lines(table)).replace("left", "NA").replace("right", "null").encode()
    assert load_dataset(table.write()).test.record.columns["side"].values == ("NA", "null")


@pytest.mark.parametrize(
    ("dtype", "bad", "words"),
    [
        ("uint8", "300", '"300" is no uint8'),
        ("uint8", "-1", '"-1" is no uint8'),
        ("int64", "1.5", '"1.5" is no int64'),
        ("bool", "maybe", '"maybe" is no bool'),
        ("float32", "1e300", "inf is not a finite number"),
        ("float16", "1e5", "inf is not a finite number"),
        ("float64", "nan", "nan is not a finite number"),
    ],
)
def test_a_cell_that_its_type_cannot_hold(tmp_path: Path, dtype: str, bad: str, words: str) -> None:
    bundle = Bundle(tmp_path, "csv", input={"dtype": dtype, "shape": [4]})
    head = "ax0,ax1,ay0,ay1,label,side,subject,recording"
    rows = [f"{row % 2},1,{row // 4 % 2},{row // 2 % 2},walk,left,7,{row}" for row in range(12)]
    rows[4] = f"1,0,1,{bad},walk,left,7,4"
    del bundle.parts["calibration"]
    bundle.raw["test"] = "\n".join([head, *rows]).encode()
    error = refused(bundle)
    assert error.where == f"{bundle.part_path()}: row 4 (from 0), column ay1"
    assert words in error.what


def test_columns_come_in_the_order_of_the_patterns_then_of_the_file(table: Bundle) -> None:
    table.input["columns"] = ["ay1", "a*"]
    inputs = load_dataset(table.write()).test.inputs
    assert (inputs == table.parts["test"]["x"][:, [3, 0, 1, 2]]).all()


def parquet(bundle: Bundle, **changed: Any) -> bytes:
    buffer = io.BytesIO()
    pyarrow.parquet.write_table(pyarrow.table(flat(bundle.parts["test"]) | changed), buffer, row_group_size=5)
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("changed", "place", "words"),
    [
        ({"ay0": [1.0] * 7 + [None] + [1.0] * 4}, ": row 7 (from 0), column ay0", "the value is missing"),
        ({"side": ["left"] * 9 + [None, "left", "left"]}, ": row 9 (from 0), column side", "the value is missing"),
        ({"ax0": ["one"] * 12}, ": column ax0", "its type is string, not a number"),
        ({"side": [0.5] * 12}, ": column side", "a metadata column is text or whole numbers"),
        ({"label": ["walk"] * 3 + ["swim"] * 9}, ": row 3 (from 0), column label", '"swim" is not one of'),
    ],
)
def test_parquet_columns_that_are_not_as_described(
    tmp_path: Path, changed: dict[str, Any], place: str, words: str
) -> None:
    bundle = Bundle(tmp_path, "parquet")
    bundle.raw["test"] = parquet(bundle, **changed)
    error = refused(bundle)
    assert error.where == f"{bundle.part_path()}{place}"
    assert words in error.what


def test_parquet_numbers_that_the_type_would_change(tmp_path: Path) -> None:
    bundle = Bundle(tmp_path, "parquet", input={"dtype": "int8", "shape": [4]})
    del bundle.parts["calibration"]
    whole = {name: list(range(index, index + 12)) for index, name in enumerate(["ax0", "ax1", "ay0", "ay1"])}
    bundle.raw["test"] = parquet(bundle, **whole)
    assert load_dataset(bundle.write()).test.inputs.dtype == "int8"
    whole["ay0"][6] = 128
    bundle.raw["test"] = parquet(bundle, **whole)
    error = refused(bundle)
    assert error.where.endswith("row 6 (from 0), column ay0")
    assert error.what == '"128" is no int8'


def test_parquet_categories_are_text(tmp_path: Path) -> None:
    bundle = Bundle(tmp_path, "parquet")
    sides = pyarrow.array(["left", "right"] * 6).dictionary_encode()
    bundle.raw["test"] = parquet(bundle, side=sides)
    assert load_dataset(bundle.write()).test.record.columns["side"].values == ("left", "right")


@pytest.mark.parametrize("wild", [False, True])
def test_very_many_patterns_end_at_once(tmp_path: Path, wild: bool) -> None:
    names = [f"a{index}" for index in range(20_000)]
    layout = Layout(None, tuple(f"{name}*" if wild else name for name in names), np.dtype("f4"), (20_000,), ("y",), 1)
    stream = io.BytesIO(f"y,{','.join(names)}\nq{',1' * 20_000}\n".encode())
    started = time.monotonic()
    if wild:
        with pytest.raises(DatasetError, match="20000 patterns to try on 20001 columns") as caught:
            read_csv(tmp_path / "d.csv", stream, layout)
        assert "fewer patterns" in caught.value.next_step
    else:
        assert read_csv(tmp_path / "d.csv", stream, layout).inputs.sum() == 20_000
    assert time.monotonic() - started < 5


def test_a_pattern_is_a_pattern_only_with_wildcards() -> None:
    layout = Layout(None, ("b[01]", "a?", "c"), np.dtype("f4"), (5,), ("y",), 1)
    rows = read_csv(Path("d.csv"), io.BytesIO(b"y,a1,a2,b0,b1,c\nq,1,2,3,4,5\n"), layout)
    assert rows.inputs.tolist() == [[3, 4, 1, 2, 5]]
    assert rows.input_columns == ("b0", "b1", "a1", "a2", "c")
