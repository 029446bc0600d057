"""The agent's model cache: pieces in order, verified by digest, bounded, and gone at the end."""

import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from kit.agent import cache as module
from kit.agent.cache import ModelCache
from kit.digest import digest_bytes
from kit.errors import DeviceError

MODEL = bytes(range(256)) * 40
DIGEST = digest_bytes(MODEL)


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    opened = ModelCache()
    yield opened
    opened.close()


def put_all(cache, model, piece=1000):
    digest, done = digest_bytes(model), False
    for offset in range(0, len(model), piece):
        done = cache.put(digest, offset, len(model), model[offset : offset + piece])
    return done


def test_pieces_make_the_whole(cache):
    assert not cache.has(DIGEST)
    assert put_all(cache, MODEL)
    assert cache.has(DIGEST)
    assert cache.path(DIGEST).read_bytes() == MODEL


def test_a_second_transfer_of_the_same_is_complete_at_once(cache):
    put_all(cache, MODEL)
    assert cache.put(DIGEST, 0, len(MODEL), b"whatever")
    assert cache.path(DIGEST).read_bytes() == MODEL


def test_goes_on_where_it_was_cut_off(cache):
    assert not cache.put(DIGEST, 0, len(MODEL), MODEL[:5000])
    assert cache.received_bytes(DIGEST) == 5000
    assert cache.put(DIGEST, 5000, len(MODEL), MODEL[5000:])


def test_starts_again_from_zero(cache):
    cache.put(DIGEST, 0, len(MODEL), b"x" * 100)
    assert put_all(cache, MODEL)


@pytest.mark.parametrize(("offset", "chunk"), [(4999, b"a"), (5001, b"a"), (5000, MODEL)])
def test_refuses_gaps_overlaps_and_excess(cache, offset, chunk):
    cache.put(DIGEST, 0, len(MODEL), MODEL[:5000])
    with pytest.raises(DeviceError, match="do not continue the 5000") as caught:
        cache.put(DIGEST, offset, len(MODEL), chunk)
    assert "5000" in caught.value.next_step
    assert cache.put(DIGEST, 5000, len(MODEL), MODEL[5000:])


def test_refuses_a_size_that_changes(cache):
    cache.put(DIGEST, 0, len(MODEL), MODEL[:5000])
    with pytest.raises(DeviceError):
        cache.put(DIGEST, 5000, len(MODEL) + 1, MODEL[5000:])


@pytest.mark.parametrize("flip", [0, 5000, len(MODEL) - 1])
def test_one_wrong_byte_is_not_accepted_and_nothing_of_it_is_kept(cache, flip):
    wrong = bytearray(MODEL)
    wrong[flip] ^= 1
    cache.put(DIGEST, 0, len(wrong), bytes(wrong[:7000]))
    with pytest.raises(DeviceError, match="what arrived has digest"):
        cache.put(DIGEST, 7000, len(wrong), bytes(wrong[7000:]))
    assert not cache.has(DIGEST)
    assert cache.received_bytes(DIGEST) == 0
    assert put_all(cache, MODEL)


@pytest.mark.parametrize("name", ["", "../../etc/passwd", "sha256:../x", "sha256:" + "A" * 64, DIGEST + "/x", "\0"])
def test_only_digests_name_files(cache, name):
    with pytest.raises(DeviceError):
        cache.put(name, 0, 4, b"abcd")
    with pytest.raises(DeviceError, match="no model"):
        cache.path(name)


def test_refuses_what_is_over_its_limit(cache, monkeypatch):
    monkeypatch.setattr(module, "MAX_MODEL_BYTES", 100)
    with pytest.raises(DeviceError, match="over this agent's limit of 100"):
        cache.put(DIGEST, 0, len(MODEL), MODEL[:50])


def test_stays_within_its_bound_by_dropping_the_least_recently_used(cache, monkeypatch):
    monkeypatch.setattr(module, "MAX_CACHE_BYTES", 2500)
    first, second, third = (bytes([i]) * 1000 for i in range(3))
    put_all(cache, first)
    put_all(cache, second)
    cache.path(digest_bytes(first))
    put_all(cache, third)
    assert cache.has(digest_bytes(first))
    assert not cache.has(digest_bytes(second))
    assert cache.has(digest_bytes(third))
    folder = cache.path(digest_bytes(third)).parent
    assert sum(file.stat().st_size for file in folder.iterdir()) <= 2500


def test_close_leaves_nothing(cache, tmp_path):
    put_all(cache, MODEL)
    cache.close()
    cache.close()
    assert list(tmp_path.iterdir()) == []


def test_what_a_killed_agent_left_is_swept_and_what_lives_is_not(tmp_path, monkeypatch):
    code = (
        "import time; from kit.agent.cache import ModelCache; c = ModelCache(); "
        "print(c._folder, flush=True); time.sleep(60)"
    )
    root = str(Path(module.__file__).parents[2])
    environment = os.environ | {"TMPDIR": str(tmp_path), "PYTHONPATH": root}

    def start():
        process = subprocess.Popen([sys.executable, "-c", code], env=environment, stdout=subprocess.PIPE, text=True)
        return process, Path(process.stdout.readline().strip())

    with start()[0] as one, start()[0] as other:
        folders = sorted(tmp_path.iterdir())
        assert len(folders) == 2
        one.send_signal(signal.SIGKILL)
        one.wait()
        monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
        with_live_one = ModelCache()
        assert len(list(tmp_path.iterdir())) == 2  # the live one's and the new one's
        with_live_one.close()
        assert other.poll() is None
        other.kill()


def test_full_storage_is_a_refusal(cache, monkeypatch):
    def full(self, *_args, **_kwargs):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "open", full)
    with pytest.raises(DeviceError, match="No space left") as caught:
        cache.put(DIGEST, 0, len(MODEL), MODEL[:10])
    assert "free storage" in caught.value.next_step
