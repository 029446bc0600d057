"""The real agent in its own process, through the real link: what works, and every way in which it can fail."""

import os
import shutil
import signal
import sys
import threading
import time
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest

from kit.device import open_device
from kit.device.local import open_local
from kit.errors import DeviceError, LinkError, ModelError, SpecError
from tests import device_kit as kits
from tests.device.hostile_agent import LEASES
from tests.signals import heard

FAULT = str(Path(__file__).parent / "line_fault.py")
HOSTILE = str(Path(__file__).parent / "hostile_agent.py")


@pytest.fixture
def device():
    opened = open_device(kits.device_spec(timeout_s=10.0))
    yield opened
    opened.close()


@pytest.fixture(scope="module")
def shared():
    opened = open_device(kits.device_spec())
    yield opened
    opened.close()


def ask_often(device):
    for _ in range(5):
        device.conditions()


def later(delay_s, action):
    timer = threading.Timer(delay_s, action)
    timer.start()
    return timer


def wait_stopped(process_id):
    """A signal is sent at once and takes effect when each thread next runs."""
    deadline_s = time.monotonic() + 10
    while {
        (t / "stat").read_text().rpartition(")")[2].split()[0] for t in Path(f"/proc/{process_id}/task").iterdir()
    } != {"T"}:
        assert time.monotonic() < deadline_s
        time.sleep(0.01)


class TestWorks:
    def test_two_models_and_their_predictions(self, shared):
        inputs = kits.rows(300)
        digests = [shared.deploy(kits.linear(seed)) for seed in (0, 1)]
        for _ in range(2):
            for seed, digest in enumerate(digests):
                scores = shared.predict(digest, inputs, output=None, exact=False)
                assert scores.dtype == np.float32
                np.testing.assert_allclose(scores, inputs @ kits.weights(seed), rtol=1e-4, atol=1e-5)

    def test_fixed_batch_of_one_gives_the_same(self, shared):
        inputs = kits.rows(20)
        fixed, dynamic = shared.deploy(kits.linear(batch=1)), shared.deploy(kits.linear())
        np.testing.assert_array_equal(
            shared.predict(fixed, inputs, output=None, exact=False),
            shared.predict(dynamic, inputs, output=None, exact=False),
        )

    def test_results_do_not_depend_on_how_rows_are_sent(self, shared, monkeypatch):
        inputs, digest = kits.rows(50), shared.deploy(kits.linear())
        whole = shared.predict(digest, inputs, output=None, exact=False)
        monkeypatch.setattr("kit.device.sending.ROWS_BYTES", inputs[:1].nbytes * 7)
        told = []
        pieces = shared.predict(digest, inputs, output=None, exact=True, progress=lambda *each: told.append(each))
        np.testing.assert_array_equal(whole, pieces)
        assert told == [(min(n, 50), 50) for n in range(7, 57, 7)]

    def test_a_converted_classifier_s_scores_are_found(self, shared):
        inputs, digest = kits.rows(9), shared.deploy(kits.classifier())
        assert shared.predict(digest, inputs, output=None, exact=False).shape == (9, kits.CLASSES)
        assert len(shared.time_inferences(digest, inputs, count=20, min_s=0).samples_ns) == 20

    def test_a_model_larger_than_a_frame_goes_in_pieces_and_only_once(self, shared):
        model = kits.linear(ballast=np.random.default_rng(0).integers(0, 255, 20 << 20, dtype=np.uint8))
        told = []
        shared.deploy(model, lambda *each: told.append(each))
        assert told[0] == (0, len(model))
        assert told == sorted(told)
        assert told[-1] == (len(model), len(model))
        again = []
        shared.deploy(model, lambda *each: again.append(each))
        assert again == [(len(model), len(model))]

    def test_strided_and_big_endian_inputs(self, shared):
        inputs, digest = kits.rows(20), shared.deploy(kits.linear())
        expected = shared.predict(digest, inputs[::2], output=None, exact=False)
        swapped = inputs.astype(">f4")[::2]
        np.testing.assert_array_equal(shared.predict(digest, swapped, output=None, exact=False), expected)

    def test_timing_reaches_both_count_and_time(self, shared):
        digest, told = shared.deploy(kits.linear()), []
        by_count = shared.time_inferences(digest, kits.rows(), count=500, min_s=0)
        by_time = shared.time_inferences(digest, kits.rows(), count=1, min_s=0.5, progress=lambda *e: told.append(e))
        assert len(by_count.samples_ns) == 500
        assert by_time.samples_ns.sum() / 1e9 > 0.1
        assert by_time.samples_ns[:-1].sum() / 1e9 < 0.5  # the last may be long, where others have the processor
        assert told
        fresh = [shared.time_inferences(digest, kits.rows(), count=1, min_s=0) for _ in range(5)]
        assert min(timed.load_ns for timed in fresh) > min(timed.first_run_ns for timed in fresh)
        for timed in (by_count, by_time):
            assert timed.samples_ns.dtype == np.int64
            assert (timed.samples_ns > 0).all()
            assert timed.load_ns > 0
            assert timed.first_run_ns > 0
            assert timed.cpu_ns > 0
            assert "perf_counter" in timed.clock
            assert timed.clock_resolution_ns >= 1

    def test_samples_are_the_time_of_the_model(self, shared):
        """A slower model is slower by as much as its own arithmetic: no constant, no harness in the samples."""
        fast, slow = (
            np.median(shared.time_inferences(shared.deploy(m), kits.rows(2), count=20, min_s=0).samples_ns)
            for m in (kits.linear(), kits.slow(300))
        )
        assert slow > 20 * fast

    def test_memory_of_fresh_sessions(self, shared):
        samples = shared.measure_memory(shared.deploy(kits.heavy(8 << 20)), kits.rows(), sessions=2)
        assert samples is not None
        assert len(samples.peak_bytes) == len(samples.steady_bytes) == 2
        assert (samples.peak_bytes >= samples.steady_bytes).all()
        assert (samples.peak_bytes > 8 << 20).all()
        assert "VmHWM" in samples.method

    def test_busy_windows_and_clocks(self, shared):
        digest = shared.deploy(kits.linear())
        idle = shared.run_busy(digest, kits.rows(), duration_s=0)
        assert idle.inferences == 0
        before_ns = time.monotonic_ns()
        window = shared.run_busy(digest, kits.rows(), duration_s=0.2)
        after_ns = time.monotonic_ns()
        offset_ns, error_ns = shared.clock_offset_ns()
        assert 0.2e9 <= window.end_ns - window.start_ns < 10e9
        assert before_ns - error_ns <= window.start_ns - offset_ns
        assert window.end_ns - offset_ns <= after_ns + error_ns
        assert window.inferences > 100
        assert 0 < window.cpu_ns < 1.1 * (window.end_ns - window.start_ns)  # a shared machine may give less
        # both sides read one clock here, so the true offset is known: 0
        assert abs(offset_ns) <= error_ns

    def test_cpu_time_grows_by_the_work_and_belongs_to_the_process(self, shared):
        start_ns = shared.cpu_time_ns()
        window = shared.run_busy(shared.deploy(kits.linear()), kits.rows(), duration_s=0.2)
        used_ns = shared.cpu_time_ns() - start_ns
        assert window.cpu_ns <= used_ns < window.cpu_ns + 0.2e9
        assert Path(f"/proc/{shared.process_id()}").exists()

    def test_identity_and_conditions(self, shared):
        who = shared.identify()
        assert (who.name, who.link, who.emulated, who.runtime) == ("local", "subprocess:", (), "onnxruntime")
        assert "CPUExecutionProvider" in who.providers
        assert who.agent_digest.startswith("sha256:")
        assert who == shared.identify()
        now = shared.conditions()
        assert now.load_1min is not None
        assert now.utc.endswith("+00:00")

    def test_refusals_are_device_errors_and_the_device_stays_usable(self, shared):
        digest = shared.deploy(kits.linear())
        with pytest.raises(DeviceError, match="refused predict: no model") as caught:
            shared.predict("sha256:" + "0" * 64, kits.rows(), output=None, exact=False)
        assert not isinstance(caught.value, LinkError)
        assert caught.value.exit_code == 4
        assert "deploy" in caught.value.next_step
        with pytest.raises(DeviceError, match="takes float32"):
            shared.predict(digest, kits.rows().astype(np.int64), output=None, exact=False)
        with pytest.raises(DeviceError, match="no rows"):
            shared.predict(digest, kits.rows(0), output=None, exact=False)
        with pytest.raises(DeviceError, match="empty model"):
            shared.deploy(b"")
        with pytest.raises(LinkError, match="over the limit"):
            shared.predict(digest, np.zeros((1, 5 << 20), np.float32), output=None, exact=False)
        with pytest.raises(LinkError, match="cannot cross a link"):
            shared.predict(digest, np.array([["text"]]), output=None, exact=False)
        assert shared.predict(digest, kits.rows(3), output=None, exact=False).shape == (3, kits.CLASSES)


class TestKnowsNothingOfTheHost:
    def test_no_file_of_the_host_is_open_and_the_model_file_may_be_gone(self, tmp_path):
        path = tmp_path / "model.onnx"
        path.write_bytes(kits.linear())
        with path.open("rb") as stream:
            os.set_inheritable(stream.fileno(), True)
            device = open_device(kits.device_spec())
            try:
                digest = device.deploy(stream.read())
                path.unlink()
                assert device.predict(digest, kits.rows(2), output=None, exact=False).shape == (2, kits.CLASSES)
                assert device.measure_memory(digest, kits.rows(2), sessions=1) is not None
                process = Path(f"/proc/{device.process_id()}")
                files = {str(each.readlink()) for each in (process / "fd").iterdir()}
                assert not any(str(tmp_path) in each for each in files)
                cache = str(Path(os.environ["XDG_CACHE_HOME"]).resolve() / "edgeproof/agents/local")
                on_disk = {each for each in files if each.startswith("/") and not each.startswith("/dev/")}
                assert {each.rpartition("/")[0] for each in on_disk} == {cache}
                assert str((process / "cwd").readlink()) == "/"
            finally:
                device.close()

    def test_the_environment_is_minimal(self, monkeypatch):
        monkeypatch.setenv("SECRET_TOKEN", "do not pass on")
        device = open_device(kits.device_spec())
        try:
            environment = Path(f"/proc/{device.process_id()}/environ").read_bytes()
        finally:
            device.close()
        assert b"SECRET_TOKEN" not in environment
        assert b"ORT_DISABLE_TELEMETRY=1" in environment


class TestFails:
    def test_killed_in_the_middle_of_predict(self, device):
        digest, process_id = device.deploy(kits.slow()), device.process_id()
        later(0.4, lambda: os.kill(process_id, signal.SIGKILL))
        with pytest.raises(LinkError) as caught:
            device.predict(digest, kits.rows(10_000), output=None, exact=False)
        assert str(caught.value) == "device local stopped answering: agent exited with signal 9 during predict"
        assert caught.value.exit_code == 4
        assert caught.value.next_step

    def test_hung(self):
        spec = kits.device_spec()
        device = open_device(spec)
        process_id = device.process_id()
        try:
            object.__setattr__(spec, "timeout_s", 1.0)
            os.kill(process_id, signal.SIGSTOP)
            wait_stopped(process_id)
            start_s = time.monotonic()
            with pytest.raises(
                LinkError, match="device local stopped answering: no answer within 1 s during conditions"
            ):
                device.conditions()
            assert 1 <= time.monotonic() - start_s < 10
        finally:
            device.close()
        assert kits.wait_gone(process_id)

    def test_long_work_with_progress_is_no_hang(self):
        spec = kits.device_spec()
        device = open_device(spec)
        try:
            digest = device.deploy(kits.linear())
            object.__setattr__(spec, "timeout_s", 1.5)
            assert len(device.time_inferences(digest, kits.rows(), count=1, min_s=2.0).samples_ns) > 1
            assert device.run_busy(digest, kits.rows(), duration_s=2.0).inferences > 1
        finally:
            device.close()

    @pytest.mark.parametrize(
        ("fault", "said"),
        [
            ("flip", "payload has CRC-32"),
            ("header", "header has CRC-32"),
            ("garbage", "are no frame"),
            ("truncate", "agent exited with status 3"),
            ("swallow", "no answer within"),
        ],
    )
    def test_a_damaged_stream_is_a_link_error_and_nothing_wrong_is_accepted(self, fault, said):
        spec = kits.device_spec(wrapper=(sys.executable, FAULT, fault), timeout_s=20.0)
        device = open_device(spec)
        try:
            if fault == "swallow":  # the one that is waited for in vain
                object.__setattr__(spec, "timeout_s", 1.0)
            with pytest.raises(LinkError, match=said):
                ask_often(device)
            again = said if fault == "swallow" else "closed after an earlier failure"  # only silence may end
            with pytest.raises(LinkError, match=again):
                device.conditions()
        finally:
            device.close()

    def test_a_repeated_answer_is_not_taken_for_the_next(self):
        device = open_device(kits.device_spec(wrapper=(sys.executable, FAULT, "twice")))
        try:
            with pytest.raises(LinkError, match="REPLY frame of request 4, expected 5"):
                ask_often(device)
        finally:
            device.close()

    @pytest.mark.parametrize(
        ("wrapper", "said"),
        [
            (("/no/such/emulator", "-x"), "cannot start '/no/such/emulator'"),
            (("sh", "-c", "echo no such board >&2; exit 7"), "device .* cannot be reached: agent exited with status 7"),
            (("true",), "device .* cannot be reached: agent ended"),
            (("sh", "-c", "sleep 100"), "device .* cannot be reached: no answer within 1 s"),
            (("cat", "/dev/zero", "--"), "are no frame"),
        ],
    )
    def test_a_device_that_does_not_say_hello(self, wrapper, said):
        start_s = time.monotonic()
        with pytest.raises(LinkError, match=said) as caught:
            open_device(kits.device_spec(wrapper=wrapper, timeout_s=1.0 if "within" in said else 20.0))
        assert caught.value.next_step
        assert time.monotonic() - start_s < 10

    def test_its_last_words_explain_a_death(self):
        with pytest.raises(LinkError) as caught:
            open_device(kits.device_spec(wrapper=("sh", "-c", "echo no such board >&2; exit 7")))
        assert "no such board" in caught.value.next_step

    def test_a_chatty_agent_does_not_block(self):
        flood = (
            "import sys; sys.stderr.write('x' * 5_000_000 + '\\n'); import runpy; sys.argv = ['kit.agent', '--stdio']; "
        )
        flood += "runpy.run_module('kit.agent', run_name='__main__')"
        device = open_device(kits.device_spec(wrapper=(sys.executable, "-c", flood)))
        try:
            assert device.conditions().utc
        finally:
            device.close()

    def test_an_unknown_kind_of_link(self):
        with pytest.raises(SpecError, match="'carrier-pigeon:' is of an unknown kind") as caught:
            open_device(kits.device_spec(link="carrier-pigeon:"))
        assert "subprocess:" in caught.value.next_step


def hostile(harm, **changes):
    search = f"PYTHONPATH={Path(__file__).parents[2]}"
    return kits.device_spec(wrapper=("env", search, sys.executable, HOSTILE, harm), **changes)


def opened_to_harm(harm, timeout_s=1.5):
    """Its time-out is short only once it has started, which a busy machine takes long for."""
    spec = hostile(harm)
    device = open_device(spec)
    object.__setattr__(spec, "timeout_s", timeout_s)
    return device


class TestMeansHarm:
    @pytest.mark.parametrize(
        ("harm", "said"), [("same", "no progress beyond 1"), ("back", "no progress beyond 1"), ("beyond", "done")]
    )
    def test_endless_progress_without_progress_is_a_hang(self, harm, said):
        device, start_s = opened_to_harm(harm), time.monotonic()
        with pytest.raises(LinkError, match=said) as caught:
            device.conditions()
        assert time.monotonic() - start_s < 10
        assert caught.value.next_step
        device.close()

    def test_progress_that_grows_for_ever_is_ended_too(self, monkeypatch):
        monkeypatch.setattr("kit.device.conversation._PATIENCES", 2)
        device, start_s = opened_to_harm("slowly"), time.monotonic()
        with pytest.raises(LinkError, match="not done after 3 s during conditions"):
            device.conditions()
        assert 2.5 < time.monotonic() - start_s < 15
        device.close()

    def test_endless_telemetry_is_a_hang_too(self):
        device, start_s = opened_to_harm("talks"), time.monotonic()
        with pytest.raises(LinkError, match=r"no answer within 1\.5 s during conditions"):
            device.conditions()
        assert time.monotonic() - start_s < 10
        device.close()

    def test_endless_telemetry_does_not_hold_up_a_transfer(self):
        device, start_s = opened_to_harm("talks"), time.monotonic()
        with pytest.raises(LinkError, match="during deploy"):
            device.deploy(kits.linear())
        assert time.monotonic() - start_s < 20
        device.close()

    def test_an_answer_to_something_else_is_refused(self):
        device = open_device(hostile("kind"))
        with pytest.raises(DeviceError, match="device local: it answered echo where conditions was asked"):
            device.conditions()
        device.close()

    @pytest.mark.parametrize("harm", LEASES)
    def test_a_lease_that_cannot_be_is_refused(self, harm):
        with pytest.raises(DeviceError, match=r"lease_s must be a number from 0\.5 to 86400") as caught:
            open_device(hostile(harm))
        assert (caught.value.where, caught.value.slug) == ("device local", "device")
        assert "same edgeproof release" in caught.value.next_step

    def test_what_took_longer_than_the_host_waited_is_refused(self):
        device = open_device(hostile("impossible"))
        with pytest.raises(DeviceError, match=r"says that 3 inferences took 2.76701e.10 s, and the host waited"):
            device.time_inferences("sha256:0", kits.rows(), count=3, min_s=0)
        with pytest.raises(DeviceError, match=r"asked to work for 1 s, and says that it did \d+ inferences in 0 s"):
            device.run_busy("sha256:0", kits.rows(), duration_s=1)
        with pytest.raises(DeviceError, match="device local: message 'memory': baseline_bytes must be"):
            device.measure_memory("sha256:0", kits.rows(), sessions=1)
        device.close()

    def test_no_text_of_it_steers_a_terminal(self):
        device = open_device(hostile("texts"))
        record, governor = device.identify(), device.conditions().governor
        device.close()
        texts = [value for value in asdict(record).values() if isinstance(value, str)]
        lists = [*record.instruction_sets, *record.providers, *record.emulated]
        for text in (*texts, *lists, governor):
            assert text.isprintable()
        assert "PASS" in record.system
        assert record.providers[1] == "fine"

    def test_nor_does_what_it_refuses_with(self):
        with pytest.raises(DeviceError) as caught:
            open_device(hostile("refuse"))
        assert "forged" in caught.value.what
        assert str(caught.value).isprintable()
        assert caught.value.next_step.isprintable()
        assert len(caught.value.what) < 1100
        assert len(caught.value.next_step) <= 1000


class TestLeavesNoOrphan:
    def test_after_close(self):
        device = open_device(kits.device_spec())
        process_id = device.process_id()
        device.close()
        device.close()
        assert kits.wait_gone(process_id)
        with pytest.raises(LinkError):
            device.conditions()

    def test_after_an_interrupt_in_the_middle_of_a_request(self, tmp_path, monkeypatch):
        monkeypatch.setenv("TMPDIR", str(tmp_path))
        device = open_device(kits.device_spec())
        process_id = device.process_id()
        digest = device.deploy(kits.linear())
        with heard(signal.SIGINT, signal.default_int_handler):
            with pytest.raises(KeyboardInterrupt):  # noqa: PT012  # whenever it comes
                timer = later(0.4, lambda: signal.pthread_kill(threading.main_thread().ident, signal.SIGINT))
                device.run_busy(digest, kits.rows(), duration_s=20)
            timer.join()
        start_s = time.monotonic()
        device.close()
        assert time.monotonic() - start_s < 10
        assert kits.wait_gone(process_id)
        assert list(tmp_path.iterdir()) == []

    def test_of_a_wrapper_that_stays_and_ignores_the_request_to_end(self):
        code = "import signal, subprocess, sys; signal.signal(15, signal.SIG_IGN); subprocess.run(sys.argv[1:])"
        code += "; import time; time.sleep(60)"
        device = open_device(kits.device_spec(wrapper=(sys.executable, "-c", code)))
        agent_id = device.process_id()
        group = os.getpgid(agent_id)
        assert group != agent_id
        assert len(kits.group_members(group)) == 2
        device.close()
        assert kits.wait_gone(agent_id)
        assert kits.group_members(group) == []

    def test_when_the_host_is_killed(self, tmp_path):
        import subprocess

        code = (
            "import sys, time; from kit.device import open_device; from tests import device_kit as k; "
            "d = open_device(k.device_spec()); print(d.process_id(), flush=True); time.sleep(60)"
        )
        root = Path(__file__).parents[2]
        with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, cwd=root) as host:
            agent_id = int(host.stdout.readline())
            host.kill()
        assert kits.wait_gone(agent_id)

    @pytest.mark.skipif(sys.platform != "linux", reason="prctl is Linux's")
    def test_when_the_host_is_killed_and_the_agent_is_stopped(self):
        import subprocess

        code = (
            "import sys, time; from kit.device import open_device; from tests import device_kit as k; "
            "d = open_device(k.device_spec()); print(d.process_id(), flush=True); time.sleep(60)"
        )
        root = Path(__file__).parents[2]
        with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, cwd=root) as host:
            agent_id = int(host.stdout.readline())
            os.kill(agent_id, signal.SIGSTOP)
            host.kill()
        assert kits.wait_gone(agent_id)


@pytest.mark.skipif(not shutil.which("qemu-x86_64-static"), reason="needs qemu-x86_64-static")
def test_an_emulated_processor_works_and_is_named():
    spec = kits.device_spec(wrapper=("qemu-x86_64-static", "-cpu", "Haswell"), timeout_s=60.0, timing_is_real=False)
    device = open_device(spec)
    try:
        who = device.identify()
        assert who.emulated == ("processor (QEMU TCG)",)
        assert "avx512_vnni" not in who.instruction_sets
        digest, inputs = device.deploy(kits.linear()), kits.rows(20)
        scores = device.predict(digest, inputs, output=None, exact=True)
        np.testing.assert_allclose(scores, inputs @ kits.weights(), rtol=1e-4, atol=1e-5)
        assert device.measure_memory(digest, inputs, sessions=1) is None
    finally:
        device.close()


def test_the_link_alone_does_not_trust_the_agent_to_read():
    link = open_local(kits.device_spec(wrapper=("sh", "-c", "sleep 100")))
    try:
        with pytest.raises(LinkError, match="does not take what is sent"):
            link.write(bytes(8 << 20), time.monotonic() + 0.3)
        assert link.read(time.monotonic() + 0.1) == b""
    finally:
        link.close()


def test_model_errors_of_the_agent_arrive_as_device_errors(shared):
    with pytest.raises(DeviceError, match="several outputs") as caught:
        shared.predict(shared.deploy(kits.two_scores()), kits.rows(), output=None, exact=False)
    assert not isinstance(caught.value, ModelError)
    assert "scores (float32, rank 2), probabilities (float32, rank 2)" in str(caught.value)
