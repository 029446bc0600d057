import os
import time
import tomllib
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from kit.errors import SpecError
from kit.spec.lines import DEPTH_LIMIT, KeyPath, TooDeepError, key_lines
from kit.spec.toml import SIZE_LIMIT_BYTES, key_text, nearest, read

SAMPLE = '''\
# a comment = [not a key]
title = "a # no comment"

[a.b]
"quoted key" = 1
c.d = """
[not.a.table]
x = 1 """
e = [
  1, # one
  { f = 2, g = [3] },
]

[[require]]
id = 'one'
[[require]]
id = 'two'
[require.sub]
k = 1979-05-27 07:32:00
[[require.sub2]]
z = 1
'''


@pytest.mark.parametrize(
    ("key", "line"),
    [
        (("title",), 2),
        (("a",), 4),
        (("a", "b"), 4),
        (("a", "b", "quoted key"), 5),
        (("a", "b", "c", "d"), 6),
        (("a", "b", "e"), 9),
        (("a", "b", "e", 0), 10),
        (("a", "b", "e", 1, "g", 0), 11),
        (("require", 0), 14),
        (("require", 0, "id"), 15),
        (("require", 1, "id"), 17),
        (("require", 1, "sub", "k"), 19),
        (("require", 1, "sub2", 0, "z"), 21),
    ],
)
def test_lines_of_keys(key: KeyPath, line: int) -> None:
    assert key_lines(SAMPLE)[key] == line


def _paths(value: Any, path: KeyPath = ()) -> set[KeyPath]:
    found = {path} if path else set()
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in items:
        found |= _paths(inner, (*path, key))
    return found


def test_every_key_that_tomllib_finds_has_a_line() -> None:
    assert set(key_lines(SAMPLE)) == _paths(tomllib.loads(SAMPLE))


def _scalars() -> st.SearchStrategy[str]:
    texts = st.text(st.characters(codec="ascii", exclude_categories=["Cc"], exclude_characters="\"'\\"), max_size=9)
    quoted = st.builds(lambda t, q: f"{q}{t}{q}", texts, st.sampled_from(['"', "'", '"""', "'''"]))
    return st.one_of(quoted, st.sampled_from(["1", "-2.5e3", "true", "1979-05-27", "inf", '"""a\nb = [ """']))


VALUES = st.recursive(
    _scalars(),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3).map(lambda parts: "[ " + ",\n ".join(parts) + " ]"),
        st.lists(inner, max_size=3).map(
            lambda parts: "{" + ", ".join(f"k{i} = {p}" for i, p in enumerate(parts) if "\n" not in p) + "}"
        ),
    ),
    max_leaves=8,
)


@given(st.lists(st.tuples(st.sampled_from(["[t{0}]", "[[list]]", "[u.v{0}]", "# text = 1"]), VALUES), max_size=6))
def test_generated_documents_have_a_line_for_every_key(tables: list[tuple[str, str]]) -> None:
    text = "".join(f"{head.format(index)}\nkey{index} = {value}\n" for index, (head, value) in enumerate(tables))
    try:
        data = tomllib.loads(text)
    except tomllib.TOMLDecodeError:
        return
    lines = key_lines(text)
    assert set(lines) == _paths(data)
    for path, line in lines.items():
        if isinstance(path[-1], str) and path[-1].startswith("key"):
            assert path[-1] in text.split("\n")[line - 1]


def write(tmp_path: Path, content: str | bytes) -> Path:
    path = tmp_path / "file.toml"
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


@pytest.mark.parametrize(
    ("content", "line", "words"),
    [
        ("a = 1\nb = \n", 2, "not valid TOML"),
        ("a = 1\na = 2\n", 2, "not valid TOML"),
        ("a = 1\n[b\n", 2, "not valid TOML"),
        ('x = 1\ny = "never closed\n', 2, "not valid TOML"),
        ('x = """never\nclosed', 2, "not valid TOML"),
        (b"a = 1\nb = '\xff'\n", 2, "not UTF-8"),
        ("a = 1\nb = '\\u001b'\nc = \"\\u001b[31mPASS\"\n", 3, "hidden character (U+001B)"),
        ('a = 1\n"\\u009b" = 1\n', 1, "hidden character (U+009B)"),
        ("a = 1\nb = 'PASS\u202eLIAF'\n", 2, "hidden character (U+202E)"),
        ("a = ['x', 'a\u200bb']\n", 1, "hidden character (U+200B)"),
        ("a = 'one\u2028two'\n", 1, "hidden character (U+2028)"),
        ("a = 'one\u2029two'\n", 1, "hidden character (U+2029)"),
        ('a = """one\ntwo"""\n', 1, "hidden character (U+000A)"),
        ('a = "one\\ttwo"\n', 1, "hidden character (U+0009)"),
        ("a = 1\nb = " + "[" * 5000 + "]" * 5000, 2, f"nested more than {DEPTH_LIMIT} deep"),
        ("a = 1\nb = " + "{a=" * 5000, 2, f"nested more than {DEPTH_LIMIT} deep"),
        ("a = 1\n" + ".".join("a" * 50_000) + " = 1", 2, f"nested more than {DEPTH_LIMIT} deep"),
        ("a = 1\n\n[" + ".".join("a" * 50_000) + "]", 3, f"nested more than {DEPTH_LIMIT} deep"),
        ("a = " + "9" * 5000, 1, "not valid TOML"),
    ],
)
def test_what_is_not_toml_is_named_with_its_line(tmp_path: Path, content: str | bytes, line: int, words: str) -> None:
    path = write(tmp_path, content)
    started = time.monotonic()
    with pytest.raises(SpecError) as caught:
        read(path)
    assert caught.value.where == f"{path}:{line}"
    assert words in str(caught.value)
    assert caught.value.next_step
    assert time.monotonic() - started < 2


def test_a_file_that_cannot_be_read(tmp_path: Path) -> None:
    large = write(tmp_path, "#" * (SIZE_LIMIT_BYTES + 1))
    for path, words in [
        (tmp_path, "folder"),
        (tmp_path / "none.toml", "no such file"),
        (tmp_path / "nul\0.toml", "no such file"),
        (tmp_path / ("long" * 1000), "cannot be read"),
        (large, "larger than 1 MiB"),
    ]:
        with pytest.raises(SpecError, match=words) as caught:
            read(path)
        assert caught.value.next_step


def test_a_pipe_is_no_file_and_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.toml")
    with pytest.raises(SpecError, match="no such file"):
        read(tmp_path / "pipe.toml")


def test_the_largest_file_is_read_quickly(tmp_path: Path) -> None:
    path = write(tmp_path, "".join(f'key{i} = "value"\n' for i in range(50_000)))
    started = time.monotonic()
    document = read(path)
    assert document.line(("key49999",)) == 50_000
    assert time.monotonic() - started < 60  # minutes, if reading were quadratic; a busy machine takes some seconds


def test_windows_line_ends_and_byte_order_mark(tmp_path: Path) -> None:
    document = read(write(tmp_path, b"\xef\xbb\xbfa = 1\r\n\r\n[b]\r\nc = 2\r\n"))
    assert document.data == {"a": 1, "b": {"c": 2}}
    assert document.line(("b", "c")) == 4


def test_a_key_that_is_not_there_is_placed_at_its_table(tmp_path: Path) -> None:
    document = read(write(tmp_path, "\n[a]\nb = 1\n"))
    assert document.line(("a", "missing", 3)) == 2
    assert document.line(("missing",)) == 1
    assert key_text(("require", 2, "at_most")) == "require[2].at_most"


def test_nearest() -> None:
    assert nearest("latncy", ["latency", "size"]) == 'did you mean "latency"?'
    assert nearest("LATENCY", ["latency", "size"]) == 'did you mean "latency"?'
    assert nearest("zzz", ["b", "a"]) == "known: a, b"
    assert nearest("zzz", [str(n) for n in range(100, 200)]).endswith(", ...")
    assert nearest("zzz", []) == ""


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(st.binary(max_size=200))
def test_any_bytes_are_a_document_or_a_spec_error(tmp_path: Path, content: bytes) -> None:
    error = _error(write(tmp_path, content))
    assert error is None or error.where.startswith(str(tmp_path / "file.toml"))


def _error(path: Path) -> SpecError | None:
    try:
        read(path)
    except SpecError as error:
        return error
    return None


@given(st.text(st.sampled_from("[]{}=.,\"'#\\ \n\tab1"), max_size=60))
def test_the_scanner_ends_on_anything(text: str) -> None:
    try:
        lines = key_lines(text)
    except TooDeepError:
        return
    try:
        data = tomllib.loads(text)
    except ValueError:
        return
    # An escaped key is known to the scanner as it is written; its table still has a line.
    assert "\\" in text or set(lines) == _paths(data)


def test_letters_marks_and_signs_of_any_script_are_read(tmp_path: Path) -> None:
    texts = "é ñ Ω 漢字 हिन्दी ± µW 🙂 a\u00a0b"
    assert read(write(tmp_path, f'a = "{texts}"\n')).data == {"a": texts}
    assert read(write(tmp_path, 'a = """one \\\n  two"""\n')).data == {"a": "one two"}  # a line end that TOML drops


def test_the_nearest_of_very_many_and_very_long_names_comes_at_once() -> None:
    started = time.monotonic()
    nearest("x" * 1_000_000, ["y" * 1_000_000, *(f"name{index}" for index in range(100_000))])
    assert time.monotonic() - started < 3
    assert nearest("nme5", ["y" * 1_000_000, "name5"]) == 'did you mean "name5"?'
