"""The run folder: nothing lost by a kill, nothing accepted that has changed, nothing done twice."""

import json
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from kit.digest import digest_bytes
from kit.errors import StoreError
from kit.records import ColumnRecord, RunRecord, TensorInfo
from kit.store import Objects, Run, write_atomically
from kit.store.codec import array_from_bytes, array_to_bytes, decode, encode


def plan(run_id: str = "r1") -> RunRecord:
    digest = digest_bytes(b"x")
    return RunRecord(
        run_id=run_id,
        created_utc="2026-01-01T00:00:00Z",
        tool_version="0",
        command=("certify", "m.onnx"),
        seed=0,
        source_digest=digest,
        profile_name="p",
        profile_digest=digest,
        dataset_name="d",
        dataset_digest=digest,
        device_name="local",
        device_digest=digest,
        recipes=("fp32",),
    )


def column(n: int = 4) -> ColumnRecord:
    return ColumnRecord(values=("a", "b"), codes=np.arange(n) % 2)


def test_nothing_is_on_disk_before_the_first_step(tmp_path: Path) -> None:
    run = Run.plan(tmp_path, plan())
    assert list(tmp_path.iterdir()) == []
    run.put("one", TensorInfo("x", "float32", (1,)))
    assert {p.name for p in run.path.iterdir()} == {"run.json", "journal.jsonl", "objects"}


def test_a_step_is_produced_once_and_read_back_equal(tmp_path: Path) -> None:
    run = Run.plan(tmp_path, plan())
    calls = []

    def produce() -> ColumnRecord:
        calls.append(1)
        return column()

    first = run.optional_step("c", ColumnRecord, produce)
    again = Run.load(run.path).optional_step("c", ColumnRecord, produce)
    assert len(calls) == 1
    assert again.values == first.values
    np.testing.assert_array_equal(again.codes, first.codes)
    assert again.codes.dtype == first.codes.dtype


def test_loading_gives_the_plan_back(tmp_path: Path) -> None:
    run = Run.plan(tmp_path, plan())
    run.put("one", column())
    assert Run.load(run.path).record == plan()


def test_a_missing_run_and_a_missing_step_say_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="no run here"):
        Run.load(tmp_path / "nothing")
    run = Run.plan(tmp_path, plan())
    run.put("one", column())
    with pytest.raises(StoreError, match="never finished") as caught:
        run.get("two", ColumnRecord)
    assert "--resume r1" in caught.value.next_step


@pytest.mark.parametrize("cut", [1, 5, 20])
def test_a_journal_line_cut_short_is_ignored_and_does_not_spoil_the_next(tmp_path: Path, cut: int) -> None:
    run = Run.plan(tmp_path, plan())
    run.put("one", column())
    run.put("two", column(6))
    run.release()
    journal = run.path / "journal.jsonl"
    journal.write_bytes(journal.read_bytes()[:-cut])
    again = Run.load(run.path)
    assert set(again.steps) == ({"one", "two"} if cut == 1 else {"one"})
    again.put("three", column(8))
    assert "three" in Run.load(run.path).steps


def test_a_changed_object_is_refused(tmp_path: Path) -> None:
    objects = Objects(tmp_path)
    digest = objects.put(b"model")
    objects.path(digest).write_bytes(b"other")
    with pytest.raises(StoreError, match="has changed"):
        objects.get(digest)


@pytest.mark.parametrize("name", ["../../etc/passwd", "sha256:zz", "", "sha256:" + "a" * 63])
def test_a_digest_that_is_none_never_names_a_file(tmp_path: Path, name: str) -> None:
    with pytest.raises(StoreError, match="not a digest"):
        Objects(tmp_path).get(name)


def test_an_object_is_stored_once(tmp_path: Path) -> None:
    objects = Objects(tmp_path)
    digest = objects.put(b"a" * 1000)
    before = objects.path(digest).stat().st_mtime_ns
    assert objects.put(b"a" * 1000) == digest
    assert objects.path(digest).stat().st_mtime_ns == before


def test_a_failed_write_leaves_the_old_file_and_no_litter(tmp_path: Path) -> None:
    path = tmp_path / "f"
    write_atomically(path, b"old")
    with pytest.raises(TypeError):
        write_atomically(path, "not bytes")  # type: ignore[arg-type]
    assert path.read_bytes() == b"old"
    assert [p.name for p in tmp_path.iterdir()] == ["f"]


def test_a_second_process_on_the_same_run_is_refused(tmp_path: Path) -> None:
    run = Run.plan(tmp_path, plan())
    run.put("one", column())
    other = Run.load(run.path)
    with pytest.raises(StoreError, match="another process"):
        other.hold()
    run.release()
    other.hold()


def test_a_process_killed_while_it_writes_loses_no_finished_step(tmp_path: Path) -> None:
    program = textwrap.dedent(
        f"""
        import sys
        sys.path.insert(0, {str(Path(__file__).parents[2])!r})
        import numpy as np
        from pathlib import Path
        from kit.records import *
        from kit.store import Run
        from kit.store.codec import decode
        d = "sha256:" + "0" * 64
        run = Run.plan(Path({str(tmp_path)!r}), RunRecord("k", "", "", (), 0, d, "", d, "", d, "", d, ()))
        for i in range(100000):
            run.put(f"s{{i}}", ColumnRecord(("a",), np.full(1000, i)))
            print(i, flush=True)
        """
    )
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        seen = 0
        for line in process.stdout:
            seen = int(line)
            if seen >= 20:
                process.send_signal(signal.SIGKILL)
                break
    run = Run.load(tmp_path / "k")
    assert set(run.steps) >= {f"s{i}" for i in range(seen + 1)}
    for i in range(seen + 1):
        assert int(run.get(f"s{i}", ColumnRecord).codes[0]) == i


@given(
    hnp.arrays(
        st.sampled_from([np.dtype("int64"), np.dtype("float64"), np.dtype("float32")]),
        hnp.array_shapes(min_dims=0, max_dims=3, min_side=0),
    )
)
@settings(max_examples=60, deadline=None)
def test_arrays_survive_the_codec_bit_for_bit(array: np.ndarray) -> None:
    back = array_from_bytes(array_to_bytes(array))
    assert back.dtype == array.dtype
    assert back.shape == array.shape
    assert back.tobytes() == np.asarray(array, order="C").tobytes()


def test_the_codec_is_canonical_and_names_its_arrays(tmp_path: Path) -> None:
    objects = Objects(tmp_path)
    data = encode(column(), objects.put)
    assert data == encode(column(), objects.put)
    assert data.count(b"$array") == 1
    digest = json.loads(data)["codes"]["$array"]
    assert objects.get(digest) == array_to_bytes(column().codes)


@pytest.mark.parametrize(
    "data",
    [b"", b"[]", b"{}", b'{"values":["a"],"codes":{"$array":"x","dtype":"int64","shape":[1]}}', b'{"values":3}'],
)
def test_a_stored_record_that_is_none_is_a_store_error(tmp_path: Path, data: bytes) -> None:
    with pytest.raises(StoreError):
        decode(data, ColumnRecord, Objects(tmp_path).get)


def test_an_array_of_another_shape_than_stated_is_refused(tmp_path: Path) -> None:
    objects = Objects(tmp_path)
    data = encode(column(4), objects.put).replace(b'"shape":[4]', b'"shape":[5]')
    with pytest.raises(StoreError, match="shape"):
        decode(data, ColumnRecord, objects.get)


def test_objects_are_readable_by_others(tmp_path: Path) -> None:
    objects = Objects(tmp_path)
    path = objects.path(objects.put(b"x"))
    assert path.stat().st_mode & 0o444 == 0o444


@pytest.mark.parametrize("number", [1, 2, 3])
@pytest.mark.parametrize(("old", "new"), [(b'"record"', b'"re\xff"'), (b'"record"', b'"recorb"'), (b":", b";")])
def test_a_damaged_line_of_the_journal_is_told_with_its_number(
    tmp_path: Path, number: int, old: bytes, new: bytes
) -> None:
    run = Run.plan(tmp_path, plan())
    for each in ("one", "two", "three"):
        run.put(each, column())
    run.release()
    journal = run.path / "journal.jsonl"
    lines = journal.read_bytes().splitlines()
    lines[number - 1] = lines[number - 1].replace(old, new)
    journal.write_bytes(b"\n".join(lines) + b"\n")
    with pytest.raises(StoreError, match=f"line {number} of the journal is damaged") as caught:
        Run.load(run.path)
    assert "--resume" in caught.value.next_step
