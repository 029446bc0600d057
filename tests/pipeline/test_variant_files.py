"""Where variants go: planned before the work, never over what is there unasked, whole or not at all."""

from pathlib import Path

import pytest

from kit.errors import StoreError, UsageError
from kit.pipeline.variant_files import plan_files, record_path, write_variant

ONE, TWO = ("int8-per-channel",), ("int8-per-channel", "fp16+x=99.9")


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("net.onnx").write_bytes(b"model")


def plan(recipes: tuple[str, ...], out: str | None = None, *, force: bool = False) -> list[str]:
    path = Path(out) if out else None
    return [str(each) for each in plan_files(Path("net.onnx"), recipes, path, force=force).values()]


def test_one_variant_is_a_file_and_several_are_in_a_folder() -> None:
    Path("there").mkdir()
    assert plan(ONE) == ["net.int8-per-channel.onnx"]
    assert plan(ONE, "small.onnx") == ["small.onnx"]
    assert plan(ONE, "new/small.bin") == ["new/small.bin"]
    assert plan(ONE, "new/small") == ["new/small.onnx"]
    assert plan(ONE, "there") == ["there/net.int8-per-channel.onnx"]
    assert plan(TWO) == ["net.int8-per-channel.onnx", "net.fp16+x=99.9.onnx"]
    assert plan(TWO, "new") == ["new/net.int8-per-channel.onnx", "new/net.fp16+x=99.9.onnx"]


def test_the_record_lies_beside_it_under_a_name_that_keeps_its_dots() -> None:
    assert record_path(Path("a/net.int8+percentile=99.9.onnx")) == Path("a/net.int8+percentile=99.9.quantize.json")
    assert record_path(Path("small.bin")) == Path("small.bin.quantize.json")


@pytest.mark.parametrize("there", ["net.int8-per-channel.onnx", "net.int8-per-channel.quantize.json"])
def test_what_is_there_is_not_replaced_unasked(there: str) -> None:
    Path(there).write_bytes(b"mine")
    with pytest.raises(UsageError, match="there is a file of that name") as caught:
        plan(ONE)
    assert caught.value.where == there
    assert "--force" in caught.value.next_step
    assert Path(there).read_bytes() == b"mine"
    assert plan(ONE, force=True) == ["net.int8-per-channel.onnx"]


def test_the_model_itself_is_never_written_over_even_by_force() -> None:
    Path("link.onnx").symlink_to("net.onnx")
    for out in ("net.onnx", "./net.onnx", "link.onnx"):
        with pytest.raises(UsageError, match="the model itself"):
            plan(ONE, out, force=True)


@pytest.mark.parametrize("out", ["all.onnx", "net.onnx"])
def test_several_variants_in_a_file_are_refused(out: str) -> None:
    with pytest.raises(UsageError, match="2 variants need a folder"):
        plan(TWO, out)


def test_a_folder_in_the_way_is_refused() -> None:
    Path("net.int8-per-channel.onnx").mkdir()
    with pytest.raises(UsageError, match="a folder of that name"):
        plan(ONE, force=True)


def test_a_file_where_a_folder_is_needed_is_told_before_the_work() -> None:
    with pytest.raises(UsageError, match="a file, not a folder") as caught:
        plan(ONE, "net.onnx/deep/small.onnx")
    assert caught.value.where.endswith("/net.onnx")


def test_both_files_are_written_whole_and_nothing_else_is() -> None:
    write_variant(Path("new/small.onnx"), b"variant", b"{}")
    assert Path("new/small.onnx").read_bytes() == b"variant"
    assert Path("new/small.quantize.json").read_bytes() == b"{}"
    assert len(list(Path("new").iterdir())) == 2


def test_a_place_that_cannot_be_written_is_said() -> None:
    with pytest.raises(StoreError, match="cannot be written") as caught:
        write_variant(Path("net.onnx/small.onnx"), b"variant", b"{}")
    assert caught.value.where == "net.onnx/small.onnx"
    assert Path("net.onnx").read_bytes() == b"model"
