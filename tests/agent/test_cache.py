"""The agent's model cache: verified by digest, bounded, shared by agents, and whole after whatever ended a transfer."""

import os
import resource
import shutil
import signal
import stat
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from kit.agent import cache as module
from kit.agent.cache import ModelCache
from kit.agent.work import RefusalError
from kit.digest import digest_bytes

MODEL = bytes(range(256)) * 40
DIGEST = digest_bytes(MODEL)
ROOT = str(Path(module.__file__).parents[2])


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "models"


@pytest.fixture
def cache(folder):
    opened = ModelCache(folder)
    yield opened
    opened.close()


def put_all(cache, model, piece=1000, digest=None):
    incoming = cache.begin(digest or digest_bytes(model), len(model))
    try:
        for offset in range(incoming.received_bytes, len(model), piece):
            incoming.append(model[offset : offset + piece])
        incoming.finish()
    finally:
        incoming.close()
    return digest_bytes(model)


def put_part(cache, model, size):
    incoming = cache.begin(digest_bytes(model), len(model))
    incoming.append(model[incoming.received_bytes : size])
    incoming.close()


def files(folder):
    return sorted(each.name for each in folder.iterdir() if each.name != "lock")


def models(count, size=1000):
    return [np.random.default_rng(i).bytes(size) for i in range(count)]


def test_pieces_make_the_whole(cache):
    assert not cache.has(DIGEST)
    put_all(cache, MODEL)
    assert cache.has(DIGEST)
    assert cache.path(DIGEST).read_bytes() == MODEL


def test_what_was_put_is_there_for_the_next_agent(cache, folder):
    put_all(cache, MODEL)
    cache.close()
    again = ModelCache(folder)
    assert again.path(DIGEST).read_bytes() == MODEL
    again.close()


@pytest.mark.parametrize("flip", [0, 5000, len(MODEL) - 1])
def test_a_file_that_rotted_is_found_when_it_is_first_used_and_removed(cache, folder, flip):
    put_all(cache, MODEL)
    cache.close()
    path = folder / DIGEST.removeprefix("sha256:")
    rotten = bytearray(MODEL)
    rotten[flip] ^= 1
    path.write_bytes(rotten)
    again = ModelCache(folder)
    with pytest.raises(RefusalError, match="no model"):
        again.path(DIGEST)
    assert files(folder) == []
    put_all(again, MODEL)
    assert again.has(DIGEST)
    again.close()


def test_goes_on_where_it_was_cut_off_to_the_byte(cache, folder):
    put_part(cache, MODEL, 4999)
    assert cache.received_bytes(DIGEST) == 4999
    cache.close()
    again = ModelCache(folder)
    incoming = again.begin(DIGEST, len(MODEL))
    assert incoming.received_bytes == 4999
    incoming.append(MODEL[4999:])
    incoming.finish()
    assert files(folder) == [DIGEST.removeprefix("sha256:")]
    again.close()


def test_a_partial_that_rotted_is_refused_at_the_end_and_then_sent_anew(cache, folder):
    put_part(cache, MODEL, 5000)
    (partial,) = folder.glob("*.partial")
    partial.write_bytes(b"x" + MODEL[1:5000])
    with pytest.raises(RefusalError, match="what arrived has digest") as caught:
        put_all(cache, MODEL)
    assert caught.value.reason == "digest"
    assert files(folder) == []
    put_all(cache, MODEL)
    assert cache.has(DIGEST)


def test_a_partial_longer_than_the_model_is_dropped(cache, folder):
    put_part(cache, MODEL, 5000)
    (partial,) = folder.glob("*.partial")
    partial.write_bytes(bytes(len(MODEL) + 1))
    assert put_all(cache, MODEL) == DIGEST


def test_nothing_is_left_where_nothing_came(cache, folder):
    cache.begin(DIGEST, len(MODEL)).close()
    assert files(folder) == []


def test_more_than_announced_is_refused_and_forgotten(cache, folder):
    incoming = cache.begin(DIGEST, 100)
    with pytest.raises(RefusalError, match="more than the announced 100"):
        incoming.append(bytes(101))
    assert files(folder) == []


@pytest.mark.parametrize("name", ["", "../../etc/passwd", "sha256:../x", "sha256:" + "A" * 64, DIGEST + "/x", "\0"])
def test_only_digests_name_files(cache, name):
    assert not cache.has(name)
    assert cache.received_bytes(name) == 0
    with pytest.raises(RefusalError, match="is no digest"):
        cache.begin(name, 4)
    with pytest.raises(RefusalError, match="no model"):
        cache.path(name)


def test_stays_within_its_bound_by_dropping_the_least_recently_used(folder):
    cache = ModelCache(folder, 2500)
    first, second, third = models(3)
    for age, model in enumerate((first, second)):
        path = cache.folder / put_all(cache, model).removeprefix("sha256:")
        os.utime(path, (1000 + age, 1000 + age))
    cache.path(digest_bytes(first))  # used now
    put_all(cache, third)
    assert [cache.has(digest_bytes(model)) for model in (first, second, third)] == [True, False, True]
    assert sum((folder / name).stat().st_size for name in files(folder)) <= 2500
    cache.close()


def test_a_model_over_the_bound_is_refused_and_evicts_nothing(folder):
    cache = ModelCache(folder, 2500)
    put_all(cache, models(1)[0])
    with pytest.raises(RefusalError, match="over this agent's limit of 2500") as caught:
        cache.begin(DIGEST, 2501)
    assert caught.value.reason == "storage"
    assert caught.value.next_step
    assert len(files(folder)) == 1
    cache.close()


def test_leaves_a_twentieth_of_the_disk_free(cache, folder, monkeypatch):
    disk = shutil._ntuple_diskusage(100_000, 0, 5000 + len(MODEL) - 1)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: disk)
    with pytest.raises(RefusalError, match="out of storage: 10240 bytes are needed and 10239 may be used") as caught:
        cache.begin(DIGEST, len(MODEL))
    assert caught.value.reason == "storage"
    assert files(folder) == []


def test_what_another_agent_uses_is_not_evicted(folder):
    first, second = models(2)
    one, other = ModelCache(folder, 1500), ModelCache(folder, 1500)
    put_all(one, first)
    with pytest.raises(RefusalError, match="out of storage"):
        put_all(other, second)
    assert one.path(digest_bytes(first)).read_bytes() == first
    one.close()
    put_all(other, second)
    assert files(folder) == [digest_bytes(second).removeprefix("sha256:")]
    other.close()


def test_a_full_cache_is_no_lack_of_storage(folder):
    cache = ModelCache(folder, 3000)
    before_bytes = cache.storable_bytes()
    for model in models(3):
        put_all(cache, model)
    assert before_bytes == cache.storable_bytes() == 3000
    assert cache.free_bytes() == 0
    put_all(cache, models(4)[3])
    cache.close()


def test_what_may_be_stored_leaves_a_twentieth_of_the_disk(cache, monkeypatch):
    put_all(cache, MODEL)
    disk = shutil.disk_usage(cache.folder)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: disk._replace(total=100_000, free=7000))
    assert cache.storable_bytes() == 7000 + len(MODEL) - 5000
    monkeypatch.setattr(shutil, "disk_usage", lambda _: disk._replace(total=10_000_000, free=0))
    assert cache.storable_bytes() == 0


class TestForget:
    def test_the_model_goes_and_others_stay(self, cache, folder):
        put_all(cache, MODEL)
        other = put_all(cache, models(1)[0])
        assert cache.forget(DIGEST)
        assert not cache.has(DIGEST)
        assert cache.has(other)
        assert len(files(folder)) == 1

    def test_what_came_of_it_goes_too(self, cache, folder):
        put_part(cache, MODEL, 500)
        assert cache.forget(DIGEST)
        assert files(folder) == []

    def test_it_can_be_put_again(self, cache):
        for _ in range(2):
            put_all(cache, MODEL)
            assert cache.path(DIGEST).read_bytes() == MODEL
            assert cache.forget(DIGEST)

    def test_what_another_agent_uses_stays(self, cache, folder):
        put_all(cache, MODEL)
        other = ModelCache(folder)
        assert other.has(DIGEST)
        assert not cache.forget(DIGEST)
        assert other.path(DIGEST).read_bytes() == MODEL
        other.close()
        assert cache.forget(DIGEST)

    @pytest.mark.parametrize("digest", ["", "lock", "../x", "sha256:" + "0" * 64, "sha256:../lock"])
    def test_what_is_not_there_touches_nothing(self, cache, folder, digest):
        put_all(cache, MODEL)
        before = sorted(each.name for each in folder.iterdir())
        assert cache.forget(digest)
        assert sorted({each.name for each in folder.iterdir()} - {"lock"}) == [n for n in before if n != "lock"]


def test_two_agents_may_receive_one_model_at_once(folder):
    one, other = ModelCache(folder), ModelCache(folder)
    first = one.begin(DIGEST, len(MODEL))
    first.append(MODEL[:5000])
    put_all(other, MODEL)
    first.append(MODEL[5000:])
    first.finish()
    assert one.path(DIGEST).read_bytes() == other.path(DIGEST).read_bytes() == MODEL
    assert files(folder) == [DIGEST.removeprefix("sha256:")]
    one.close()
    other.close()


def test_a_full_disk_is_a_refusal_that_leaves_no_junk(folder):
    """The kernel's own limit on a file's size stands for a disk that is full: both fail a write in its middle."""
    code = (
        "import resource, sys; from pathlib import Path; from kit.agent.cache import ModelCache\n"
        "from kit.digest import digest_bytes\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (5000, 5000))\n"
        "cache, model = ModelCache(Path(sys.argv[1])), bytes(10240)\n"
        "incoming = cache.begin(digest_bytes(model), len(model))\n"
        "try:\n    incoming.append(model)\nexcept Exception as e: print(type(e).__name__, e.reason, e, e.next_step)\n"
        "incoming.close()"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(folder)], env={"PYTHONPATH": ROOT}, capture_output=True, text=True, check=True
    )
    assert done.stdout.startswith("RefusalError storage out of storage")
    assert "File too large" in done.stdout
    assert "free storage on the device" in done.stdout
    assert files(folder) == []


def test_what_a_killed_agent_left_is_one_partial_that_is_gone_on_with(folder):
    code = (
        "import sys, time; from pathlib import Path; from kit.agent.cache import ModelCache\n"
        "cache = ModelCache(Path(sys.argv[1])); incoming = cache.begin(sys.argv[2], 10240)\n"
        "incoming.append(bytes(range(256)) * 10); print('here', flush=True); time.sleep(60)"
    )
    command = [sys.executable, "-c", code, str(folder), DIGEST]
    with subprocess.Popen(command, env={"PYTHONPATH": ROOT}, stdout=subprocess.PIPE) as agent:
        agent.stdout.readline()
        agent.send_signal(signal.SIGKILL)
    assert files(folder) == [DIGEST.removeprefix("sha256:") + ".partial"]
    cache = ModelCache(folder)
    assert cache.received_bytes(DIGEST) == 2560
    put_all(cache, bytes(range(256)) * 40)
    assert cache.path(DIGEST).read_bytes() == MODEL
    cache.close()


def test_private_and_old_partials_are_removed_when_room_is_made(cache, folder):
    private, old, young = (
        folder / (char * 64 + end) for char, end in (("a", ".partial-99"), ("b", ".partial"), ("c", ".partial"))
    )
    for path in (private, old, young):
        path.write_bytes(b"x")
    os.utime(old, (1000, 1000))
    put_all(cache, MODEL)
    assert not private.exists()
    assert not old.exists()
    assert young.exists()


def test_the_folder_is_its_user_s_alone(cache, folder):
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    put_all(cache, MODEL)
    assert stat.S_IMODE(cache.path(DIGEST).stat().st_mode) == 0o600


def test_an_open_folder_is_closed_to_others(folder):
    folder.mkdir(mode=0o777)
    folder.chmod(0o777)
    ModelCache(folder).close()
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700


def test_a_link_in_its_place_is_refused(tmp_path, folder):
    (tmp_path / "elsewhere").mkdir()
    folder.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(RefusalError, match="is a link") as caught:
        ModelCache(folder)
    assert "--cache" in caught.value.next_step


@pytest.mark.parametrize("end", ["", ".partial"])
def test_links_among_its_files_are_never_followed(cache, folder, tmp_path, end):
    victim = tmp_path / "victim"
    victim.write_bytes(MODEL)
    (folder / (DIGEST.removeprefix("sha256:") + end)).symlink_to(victim)
    assert not cache.has(DIGEST)
    if end:
        cache.begin(DIGEST, len(MODEL)).close()
    else:
        put_all(cache, MODEL)
        assert cache.has(DIGEST)
    assert victim.read_bytes() == MODEL


@pytest.mark.parametrize("name", ["model", "partial", "lock"])
@pytest.mark.parametrize(
    "make", [os.mkfifo, os.mkdir, lambda path: path.symlink_to("nowhere")], ids=["fifo", "folder", "link"]
)
def test_what_is_no_file_does_not_block_a_model(cache, folder, name, make):
    digits = DIGEST.removeprefix("sha256:")
    make(folder / {"model": digits, "partial": f"{digits}.partial", "lock": "lock"}[name])
    put_all(cache, MODEL)
    assert cache.path(DIGEST).read_bytes() == MODEL


@pytest.mark.parametrize("end", ["", ".partial"])
def test_a_folder_with_something_in_it_is_named_and_left(cache, folder, end):
    in_the_way = folder / (DIGEST.removeprefix("sha256:") + end)
    (in_the_way / "kept").mkdir(parents=True)
    with pytest.raises(RefusalError, match=f"{in_the_way} is in the way of a model") as caught:
        put_all(cache, MODEL)
    assert caught.value.next_step == f"remove {in_the_way} on the device"
    assert (in_the_way / "kept").is_dir()


def test_a_folder_that_cannot_be_made_is_a_refusal(tmp_path):
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(RefusalError, match="cannot keep models in"):
        ModelCache(tmp_path / "file" / "models")


def test_descriptors_stay_few(folder):
    cache = ModelCache(folder)
    before = len(list(Path("/proc/self/fd").iterdir()))
    for model in models(module._PINS + 20, 50):
        put_all(cache, model)
    assert len(list(Path("/proc/self/fd").iterdir())) - before <= module._PINS + 1
    assert resource.getrlimit(resource.RLIMIT_NOFILE)[0] > module._PINS
    cache.close()


def test_the_default_folder_is_the_user_s_cache(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert module.default_folder() == tmp_path / "edgeproof-agent"
    monkeypatch.setenv("XDG_CACHE_HOME", "relative")
    assert module.default_folder() == Path("~/.cache/edgeproof-agent").expanduser()
