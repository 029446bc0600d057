"""Rows to verify on: from files that nobody vouches for, generated, and fitted to what the model takes."""

import io
import pickle
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from kit.errors import ConversionError, DatasetError, EdgeproofError, ModelError, UsageError
from kit.model.convert.rows import described_rows, fitted_rows, generated_rows, naming_rows, rows_from, transposition
from kit.records import TensorInfo

IMAGE = TensorInfo("image", "float32", ("rows", 3, 24, 32))
TOKENS = TensorInfo("tokens", "int64", ("rows", "length"))
STATE = TensorInfo("state", "float32", (2, 1, 4))
RATE = TensorInfo("rate", "int64", ())


class TestRowsFrom:
    def test_one_array_is_for_the_only_input(self, tmp_path: Path) -> None:
        rows = np.arange(12, dtype=np.float32).reshape(3, 4)
        np.save(tmp_path / "rows.npy", rows)
        np.savez(tmp_path / "rows.npz", anything=rows)
        for name in ("rows.npy", "rows.npz"):
            np.testing.assert_array_equal(rows_from(tmp_path / name), rows)

    def test_several_arrays_go_by_name(self, tmp_path: Path) -> None:
        np.savez_compressed(tmp_path / "rows.npz", image=np.zeros((2, 3)), tokens=np.ones((2, 5), np.int64))
        found = rows_from(tmp_path / "rows.npz")
        assert {name: array.shape for name, array in found.items()} == {"image": (2, 3), "tokens": (2, 5)}

    def test_a_manifest_gives_its_test_part(self, tmp_path: Path) -> None:
        from kit.digest import digest_file

        np.savez(tmp_path / "part.npz", x=np.arange(8, dtype=np.float32).reshape(4, 2), label=np.array(list("abab")))
        sha = digest_file(tmp_path / "part.npz").removeprefix("sha256:")
        (tmp_path / "set.toml").write_text(
            '[dataset]\nname = "s"\ntask = "classification"\nclasses = ["a", "b"]\nlabel = "label"\n'
            '[input]\ndtype = "float32"\nshape = [2]\narray = "x"\n'
            f'[[part]]\nrole = "test"\npath = "part.npz"\nrows = 4\nsha256 = "{sha}"\n'
        )
        assert rows_from(tmp_path / "set.toml").shape == (4, 2)

    @pytest.mark.parametrize("name", ["rows.csv", "rows", "rows.pkl"])
    def test_another_kind_is_refused(self, name: str, tmp_path: Path) -> None:
        with pytest.raises(UsageError, match="rows are not read from a") as caught:
            rows_from(tmp_path / name)
        assert ".npz" in caught.value.next_step

    def test_nothing_is_unpickled(self, tmp_path: Path) -> None:
        trace = tmp_path / "ran"

        class Bomb:
            def __reduce__(self) -> tuple[Any, ...]:
                return Path.touch, (trace,)

        objects = np.empty(1, object)
        objects[0] = Bomb()
        np.save(tmp_path / "a.npy", objects, allow_pickle=True)
        np.savez(tmp_path / "b.npz", x=objects)
        (tmp_path / "c.npy").write_bytes(pickle.dumps(Bomb()))
        for name in ("a.npy", "b.npz", "c.npy"):
            with pytest.raises(DatasetError, match="no rows can be read"):
                rows_from(tmp_path / name)
        assert not trace.exists()

    @pytest.mark.parametrize("content", [b"", b"PK\x03\x04", b"\x93NUMPY\x01\x00\xff\xff", b"garbage"])
    def test_damaged_files_are_one_clear_error(self, content: bytes, tmp_path: Path) -> None:
        for suffix in ("npy", "npz"):
            (tmp_path / f"rows.{suffix}").write_bytes(content)
            with pytest.raises(EdgeproofError) as caught:
                rows_from(tmp_path / f"rows.{suffix}")
            assert caught.value.where == str(tmp_path / f"rows.{suffix}")

    def test_a_bomb_of_zeros_is_not_unpacked(self, tmp_path: Path) -> None:
        header = io.BytesIO()
        np.lib.format.write_array_header_1_0(header, {"descr": "<f4", "fortran_order": False, "shape": (1 << 30,)})
        with (
            zipfile.ZipFile(tmp_path / "bomb.npz", "w", zipfile.ZIP_DEFLATED) as archive,
            archive.open("x.npy", "w", force_zip64=True) as stream,
        ):
            stream.write(header.getvalue())
            for _ in range(2100):
                stream.write(bytes(1 << 20))
        with pytest.raises(DatasetError, match="its arrays take 2100 MiB"):
            rows_from(tmp_path / "bomb.npz")

    def test_a_file_that_is_not_there(self, tmp_path: Path) -> None:
        with pytest.raises(DatasetError, match="cannot be read: No such file"):
            rows_from(tmp_path / "none.npz")


class TestFitted:
    def test_rows_that_fit_come_by_name(self) -> None:
        rows = np.zeros((5, 3, 24, 32), np.float32)
        assert fitted_rows(rows, (IMAGE,), "net")["image"].shape == rows.shape
        found = fitted_rows({"image": rows, "tokens": np.zeros((5, 7), np.int32)}, (IMAGE, TOKENS), "net")
        assert found["tokens"].dtype == np.int64

    def test_channels_last_for_a_model_of_channels_first_is_named(self) -> None:
        with pytest.raises(ModelError, match="channels last, and the model wants channels first") as caught:
            fitted_rows(np.zeros((5, 24, 32, 3), np.float32), (IMAGE,), "net.pt2")
        assert caught.value.next_step == "transpose the rows: rows.transpose(0, 3, 1, 2)"
        assert caught.value.where == "net.pt2"

    def test_channels_first_for_a_model_of_channels_last_is_named(self) -> None:
        last = TensorInfo("image", "float32", (1, 24, 32, 3))
        with pytest.raises(ModelError, match="channels first, and the model wants channels last") as caught:
            fitted_rows({"image": np.zeros((5, 3, 24, 32), np.float32)}, (last,), "net")
        assert caught.value.next_step.endswith("rows.transpose(0, 2, 3, 1)")

    def test_a_transposed_table_is_named(self) -> None:
        wide = TensorInfo("x", "float32", ("rows", 4, 9))
        with pytest.raises(ModelError, match="same sizes in another order") as caught:
            fitted_rows(np.zeros((5, 9, 4), np.float32), (wide,), "net")
        assert caught.value.next_step.endswith("rows.transpose(0, 2, 1)")

    @pytest.mark.parametrize(
        ("rows", "says"),
        [
            (np.zeros((5, 3, 24, 31), np.float32), r"does not take rows of shape \[3, 24, 31\]"),
            (np.zeros((5, 3, 24, 32), np.uint8), "raw pixels or counts, not yet scaled"),
            (np.zeros((0, 3, 24, 32), np.float32), "no rows"),
            ({"picture": np.zeros((5, 3, 24, 32), np.float32)}, "no rows for input 'image'"),
        ],
    )
    def test_rows_that_do_not_fit_say_so(self, rows: Any, says: str) -> None:
        with pytest.raises(ModelError, match=says) as caught:
            fitted_rows(rows, (IMAGE,), "net.pt2")
        assert "net.pt2" in caught.value.where
        assert caught.value.next_step


@pytest.mark.parametrize(
    ("got", "want", "axes"),
    [
        ((24, 32, 3), (3, 24, 32), (2, 0, 1)),
        ((3, 24, 32), (24, 32, 3), (1, 2, 0)),
        ((8, 8, 3), (3, "height", "width"), (2, 0, 1)),
        ((3, 24, 32), (3, 24, 32), ()),
        ((3, 24, 31), (3, 24, 32), ()),
        ((5,), (6,), ()),
        ((4, 5), ("a", "b"), ()),
        ((3, 4), (3, 4, 1), ()),
    ],
)
def test_transpositions(got: tuple[int, ...], want: tuple[int | str, ...], axes: tuple[int, ...]) -> None:
    assert transposition(got, want) == axes


class TestGenerated:
    def test_they_are_the_same_for_a_seed_and_fit(self) -> None:
        inputs = (IMAGE, TOKENS, STATE, RATE)
        one, two, other = (generated_rows(inputs, seed) for seed in (0, 0, 1))
        assert {name: array.shape for name, array in one.items()} == {
            "image": (24, 3, 24, 32), "tokens": (24, 16), "state": (24, 2, 1, 4), "rate": (24,),
        }  # fmt: skip
        for name in one:
            np.testing.assert_array_equal(one[name], two[name])
            assert not np.array_equal(one[name], other[name])
        fitted_rows(one, inputs, "net")

    def test_floats_have_three_scales(self) -> None:
        rows = generated_rows((TensorInfo("x", "float32", ("rows", 1000)),))["x"]
        assert rows.dtype == np.float32
        assert abs(rows[0::3].mean()) < 0.05
        assert 0.95 < rows[0::3].std() < 1.05
        assert 0 <= rows[1::3].min() < rows[1::3].max() <= 1
        assert 250 < rows[2::3].max() <= 255

    @pytest.mark.parametrize(
        ("dtype", "low", "high"),
        [("uint8", 0, 255), ("int8", -128, 127), ("int64", 0, 9), ("int32", 0, 9), ("bool", 0, 1)],
    )
    def test_integers_are_small_or_span_their_bytes(self, dtype: str, low: int, high: int) -> None:
        rows = generated_rows((TensorInfo("x", dtype, ("rows", 1000)),))["x"]
        assert rows.dtype == dtype
        assert (int(rows.min()), int(rows.max())) == (low, high)

    def test_free_dimensions_of_images_are_larger(self) -> None:
        free = TensorInfo("x", "float32", (1, 3, "height", "width"))
        assert generated_rows((free,))["x"].shape == (24, 3, 64, 64)


def test_rows_say_what_a_model_takes() -> None:
    motion, gain = np.zeros((5, 20, 6), np.float32), np.zeros(5, np.int64)
    assert described_rows({"motion": motion, "gain": gain}) == (
        TensorInfo("motion", "float32", ("rows", 20, 6)),
        TensorInfo("gain", "int64", ("rows",)),
    )
    assert described_rows(motion) == (TensorInfo("", "float32", ("rows", 20, 6)),)


class TestNamingRows:
    @staticmethod
    def predict(feeds: Any) -> dict[str, Any]:
        if any(not np.isfinite(array).all() for array in feeds.values()):
            raise ConversionError("the source fails: no NaN", where="model.joblib", next_step="check")
        return dict(feeds)

    def test_the_first_row_that_is_not_finite_is_named_with_its_file(self) -> None:
        rows: dict[str, Any] = {
            "x": np.ones((5, 3), np.float32),
            "state": np.ones((5, 2), np.float32),
            "n": np.ones(5, np.int64),
        }
        rows["x"][4, 1] = np.nan
        rows["state"][2, 0] = np.inf
        with pytest.raises(ConversionError, match="input 'state' is not finite there, and the source fails") as caught:
            naming_rows(self.predict, "rows.npz")(rows)
        assert caught.value.where == "rows.npz: row 2"
        assert "leave such rows out" in caught.value.next_step

    def test_what_fails_on_finite_rows_stays_as_it_is(self) -> None:
        def failing(_: Any) -> dict[str, Any]:
            raise ConversionError("the source fails", where="model.joblib")

        with pytest.raises(ConversionError) as caught:
            naming_rows(failing, "rows.npz")({"x": np.ones((2, 3))})
        assert caught.value.where == "model.joblib"

    def test_a_source_that_takes_nan_is_given_it(self) -> None:
        rows = {"x": np.array([[np.nan]])}
        assert np.isnan(naming_rows(dict, "rows.npz")(rows)["x"]).all()
