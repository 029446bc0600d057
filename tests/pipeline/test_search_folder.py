"""The folder of a search: held from the start, never over what is there, and nothing in it is believed for its name."""

from dataclasses import replace
from pathlib import Path

import pytest

from kit.digest import digest_bytes
from kit.errors import StoreError, UsageError
from kit.pipeline.search_folder import SearchFolder, identity_of
from kit.records import RunRecord, SearchPoint
from kit.store import Run
from tests import builders

DIGEST = "sha256:" + "0" * 64


def identity(path: Path, seed: int = 0) -> RunRecord:
    names = {"profile_name": "p", "dataset_name": "d", "device_name": "host"}
    digests = dict.fromkeys(("source_digest", "profile_digest", "dataset_digest", "device_digest"), DIGEST)
    return identity_of(path, command=("edgeproof",), seed=seed, **names, **digests)


def opened(path: Path, *, resume: bool = False, force: bool = False, seed: int = 0) -> SearchFolder:
    return SearchFolder(path, identity(path, seed), resume=resume, force=force)


def point(data: bytes, recipe: str = "int8") -> SearchPoint:
    variant = builders.evidence().variants[0].variant
    model = replace(variant.model, digest=digest_bytes(data), size_bytes=len(data))
    named = replace(variant.recipe, name=recipe)
    return SearchPoint(replace(variant, model=model, recipe=named), (), float(len(data)), "B", 0, None, None, 0.1)


def searched(path: Path, *data: bytes, force: bool = False) -> None:
    folder = opened(path, force=force)
    for each in data:
        folder.remember(point(each), each)
    folder.release()


def test_it_is_there_and_held_before_the_first_point(tmp_path: Path) -> None:
    path = tmp_path / "deep/found"
    folder = opened(path)
    assert (path / "run.json").is_file()
    for resume, force in ((False, False), (True, False), (False, True)):
        with pytest.raises(StoreError, match="another process"):
            opened(path, resume=resume, force=force)
    folder.release()
    again = opened(path, resume=True)
    assert again.points() == ()
    again.release()


def test_a_search_that_kept_nothing_is_begun_anew_unasked_and_one_that_did_is_not(tmp_path: Path) -> None:
    searched(tmp_path / "f")
    searched(tmp_path / "f", b"one")
    with pytest.raises(UsageError, match="there is a search"):
        opened(tmp_path / "f")


def test_the_current_folder_is_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    searched(Path(), b"one")
    assert Path("points/01-int8.onnx").read_bytes() == b"one"
    assert Path("run.json").is_file()
    folder = opened(Path(), resume=True)
    assert len(folder.points()) == 1
    folder.release()


def test_force_replaces_at_the_first_new_point_and_not_before(tmp_path: Path) -> None:
    path = tmp_path / "f"
    searched(path, b"one", b"two")
    before = {each.relative_to(path): each.read_bytes() for each in path.rglob("*") if each.is_file()}
    folder = opened(path, force=True, seed=1)
    assert folder.points() == ()
    assert folder.replaces
    folder.release()
    assert folder.is_put_back
    assert {each.relative_to(path): each.read_bytes() for each in path.rglob("*") if each.is_file()} == before
    folder = opened(path, force=True, seed=1)
    folder.remember(point(b"three"), b"three")
    assert not folder.replaces
    folder.release()
    assert [each.name for each in (path / "points").iterdir()] == ["01-int8.onnx"]
    assert not (path / ".replaced").exists()


@pytest.mark.parametrize("moved", range(5))
def test_a_kill_while_it_is_moved_aside_or_before_the_first_point_loses_nothing(tmp_path: Path, moved: int) -> None:
    path = tmp_path / "f"
    searched(path, b"one")
    (path / ".replaced").mkdir()
    for name in ("journal.jsonl", "points", "objects", "run.json")[:moved]:
        (path / name).rename(path / ".replaced" / name)
    if moved == 4:
        (path / "run.json").write_text("{}")
    folder = opened(path, resume=True)
    (found,) = folder.points()
    assert folder.data_of(found) == b"one"
    folder.release()
    assert sorted(each.name for each in path.iterdir()) == ["journal.jsonl", "objects", "points", "run.json"]


def test_files_that_are_not_what_was_written_are_written_again(tmp_path: Path) -> None:
    path = tmp_path / "f"
    searched(path, b"one", b"two")
    (path / "points/01-int8.onnx").write_bytes(b"bad")
    (path / "points/02-int8.onnx").unlink()
    folder = opened(path, resume=True)
    folder.mend()
    folder.release()
    assert [(path / f"points/0{n}-int8.onnx").read_bytes() for n in (1, 2)] == [b"one", b"two"]


@pytest.mark.parametrize("name", ["points", "objects/00", "best.onnx"])
def test_a_link_in_a_folder_is_refused_and_nothing_is_written_through_it(tmp_path: Path, name: str) -> None:
    path, outside = tmp_path / "f", tmp_path / "outside"
    searched(path)
    outside.mkdir()
    (path / name).parent.mkdir(exist_ok=True)
    (path / name).symlink_to(outside)
    with pytest.raises(StoreError, match="a link has no place"):
        opened(path, resume=True)
    assert list(outside.iterdir()) == []


@pytest.mark.parametrize(
    "step", ["point/abc", "point/0", "point/-1", "point/٣", "point/3", "plan", "point/" + "9" * 99]
)
def test_a_step_that_no_search_wrote_is_an_error_of_the_store(tmp_path: Path, step: str) -> None:
    searched(tmp_path / "f", b"one")
    run = Run.load(tmp_path / "f", hold=True)
    run.put(step, point(b"one"))
    run.release()
    with pytest.raises(StoreError, match=r"no step of a search|missing from the journal"):
        opened(tmp_path / "f", resume=True)


def test_a_hostile_recipe_names_no_other_place(tmp_path: Path) -> None:
    folder = opened(tmp_path / "f")
    folder.remember(point(b"one", "../../x\0\n\x1b[31m"), b"one")
    assert folder.files() == ("points/01-.._.._x___[31m.onnx",)
    folder.release()


def test_a_link_to_nothing_and_a_place_below_a_file_are_refused_before_the_work(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path / "nothing")
    (tmp_path / "file").write_text("mine")
    with pytest.raises(UsageError, match="a link to nothing"):
        opened(tmp_path / "link")
    with pytest.raises(UsageError, match="nothing can be written here"):
        opened(tmp_path / "file/deep/found")
    assert not (tmp_path / "nothing").exists()


def test_what_the_system_refuses_is_an_error_of_the_store(tmp_path: Path) -> None:
    folder = opened(tmp_path / "f")
    (tmp_path / "f/points").write_text("in the way")
    with pytest.raises(StoreError, match="cannot be written") as caught:
        folder.remember(point(b"one"), b"one")
    assert caught.value.where == str(tmp_path / "f")
    assert "--resume" in caught.value.next_step
    folder.release()
