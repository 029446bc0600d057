"""Who is let in over TCP: real sockets, real TLS, and strangers of every kind."""

import contextlib
import datetime
import queue
import socket
import ssl
import threading
import time
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from kit.agent import tcp
from kit.agent.tcp import Listener, TcpChannel
from kit.device.keys import make_key
from kit.errors import EdgeproofError, LinkError, UsageError
from kit.wire import Decoder, FrameType, unpack_message
from kit.wire.secure import Key
from kit.wire.sockets import SocketStream, is_loopback, join_address
from tests.device_kit import wait_until

SECRET = b"EDGP the model is a trade secret" * 10


class EchoDesk:
    """Sends back what a host says, and remembers who was let in."""

    def __init__(self):
        self.taken = queue.SimpleQueue()

    def take(self, channel):
        self.taken.put(channel)
        threading.Thread(target=self._serve, args=(channel,), daemon=True).start()

    @staticmethod
    def _serve(channel):
        with contextlib.suppress(BrokenPipeError):
            while data := channel.read():
                channel.write(data)
        channel.close()

    def nobody_was_taken(self):
        return self.taken.empty()


@pytest.fixture(scope="module")
def keys(tmp_path_factory):
    """Two keys that have nothing to do with each other."""
    folder = tmp_path_factory.mktemp("keys")
    paths = [str(folder / name) for name in ("ours.key", "theirs.key")]
    for path in paths:
        make_key(path)
    return paths


class Running:
    """A listener that serves, and the sockets that came to it."""

    def __init__(self, key=None, host="127.0.0.1"):
        self.desk, self.listener, self._opened = EchoDesk(), Listener(host, 0, key), []
        self._thread = threading.Thread(target=self.listener.serve, args=(self.desk,))
        self._thread.start()

    @property
    def port(self):
        return int(self.listener.address.rpartition(":")[2])

    def connect(self, host="127.0.0.1"):
        connection = socket.create_connection((host, self.port), 10)
        self._opened.append(connection)
        return connection

    def secured(self, key, **changes):
        """A TLS client that holds `key`, or none."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        if key:
            context.load_cert_chain(key)
        for name, value in changes.items():
            setattr(context, name, value)
        connection = context.wrap_socket(self.connect())
        self._opened.append(connection)
        return connection

    def close(self):
        self.listener.close()
        self._thread.join(20)
        for each in self._opened:
            each.close()
        while not self.desk.taken.empty():
            self.desk.taken.get().close()
        assert not self._thread.is_alive()


@pytest.fixture
def serve():
    running = []

    def start(*arguments, **options):
        running.append(Running(*arguments, **options))
        return running[-1]

    yield start
    for each in running:
        each.close()


def exactly(connection, size):
    data = b""
    while len(data) < size:
        piece = connection.recv(size - len(data))
        assert piece, f"ended after {len(data)} bytes"
        data += piece
    return data


def is_echoed(connection, data=SECRET):
    connection.sendall(data)
    return exactly(connection, len(data)) == data


def everything(connection, within_s=20.0):
    """All that is said before the other side ends the connection, in time."""
    connection.settimeout(within_s)
    said = b""
    with contextlib.suppress(ConnectionResetError):
        while data := connection.recv(4096):
            said += data
    return said


class TestAddress:
    @pytest.mark.parametrize("host", ["0.0.0.0", "::", "", "192.0.2.1", "2001:db8::1"])
    def test_only_loopback_without_a_key(self, host):
        with pytest.raises(UsageError, match="prove itself with a key") as caught:
            Listener(host, 0)
        assert "edgeproof agent key" in caught.value.next_step
        assert "--key" in caught.value.next_step

    @pytest.mark.parametrize("host", ["0.0.0.0", "127.0.0.1"])
    def test_with_a_key_it_is_private_wherever_it_listens(self, serve, keys, host):
        running = serve(keys[0], host=host)
        assert is_echoed(running.secured(keys[0]))
        assert everything(plain(running)) == tcp.TLS_ALERT

    def test_ipv6(self, serve):
        running = serve(host="::1")
        assert running.listener.address == f"[::1]:{running.port}"
        assert is_echoed(running.connect("::1"))

    def test_localhost_is_loopback(self, serve):
        assert is_loopback(serve(host="localhost").listener._socket.getsockname()[0])

    def test_one_that_is_taken_is_told(self, serve):
        running = serve()
        with pytest.raises(LinkError, match=r"cannot listen on 127\.0\.0\.1:.*in use") as caught:
            Listener("127.0.0.1", running.port)
        assert caught.value.next_step

    @pytest.mark.parametrize(
        ("host", "port", "says"),
        [("no.such.host.invalid", 7431, "cannot listen"), ("a" * 70, 7431, "cannot listen"),
         ("127.0.0.1", 70000, "no port"), ("127.0.0.1", -1, "no port")],
    )  # fmt: skip
    def test_one_that_cannot_be(self, host, port, says):
        with pytest.raises(EdgeproofError, match=says) as caught:
            Listener(host, port)
        assert caught.value.next_step

    @pytest.mark.parametrize(
        ("address", "is_it"),
        [("127.0.0.1", True), ("127.9.9.9", True), ("::1", True), ("::ffff:127.0.0.1", True), ("10.0.0.1", False),
         ("::", False), ("0.0.0.0", False), ("::ffff:10.0.0.1", False), ("fe80::1%lo", False)],
    )  # fmt: skip
    def test_what_is_loopback(self, address, is_it):
        assert is_loopback(address) is is_it

    def test_addresses_as_text(self):
        assert join_address("127.0.0.1", 1) == "127.0.0.1:1"
        assert join_address("::1", 1) == "[::1]:1"

    def test_closing_twice_ends_the_service_and_keeps_the_hosts(self, serve):
        running = serve()
        host = running.connect()
        assert is_echoed(host)
        running.listener.close()
        running.listener.close()
        assert is_echoed(host)
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", int(running.listener.address.rpartition(":")[2])), 5)


def plain(running):
    """A host that does not know of keys says something."""
    connection = running.connect()
    connection.sendall(SECRET)
    return connection


def signed_by(key_path, folder):
    """A certificate of someone else's, signed with the agent's key as if that were an authority."""
    data = Path(key_path).read_bytes()
    issuer_key, issuer = serialization.load_pem_private_key(data, None), x509.load_pem_x509_certificate(data)
    own = ec.generate_private_key(ec.SECP256R1())
    start = datetime.datetime(2000, 1, 1)
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "stranger")])
    leaf = x509.CertificateBuilder(issuer.subject, name, own.public_key(), 7, start, start.replace(year=2100))
    pem = serialization.Encoding.PEM
    path = folder / "leaf.pem"
    path.write_bytes(
        own.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
        + leaf.sign(issuer_key, hashes.SHA256()).public_bytes(pem)
        + issuer.public_bytes(pem)
    )
    return str(path)


class TestKey:
    def test_the_same_one_lets_in_over_tls_1_3(self, serve, keys):
        running = serve(keys[0])
        connection = running.secured(keys[0])
        assert is_echoed(connection)
        assert connection.version() == "TLSv1.3"
        assert connection.getpeercert(binary_form=True) == Key(keys[0]).certificate

    def refused(self, running, connect):
        """The stranger hears nothing but the refusal, and the desk does not hear of him."""
        with pytest.raises(OSError):  # noqa: PT012  # in TLS 1.3 a client learns of it at its first read
            connection = connect()
            connection.sendall(SECRET)
            raise ConnectionError(everything(connection)[:0])
        assert running.desk.nobody_was_taken()
        assert is_echoed(running.secured(self.key))

    def test_another_key_none_and_an_older_tls_are_refused(self, serve, keys):
        self.key, running = keys[0], serve(keys[0])
        self.refused(running, lambda: running.secured(keys[1]))
        running.desk.taken.get()
        self.refused(running, lambda: running.secured(None))
        running.desk.taken.get()
        self.refused(running, lambda: running.secured(keys[0], maximum_version=ssl.TLSVersion.TLSv1_2))

    def test_a_certificate_that_the_key_has_signed_is_not_the_key(self, serve, keys, tmp_path):
        self.key, running = keys[0], serve(keys[0])
        self.refused(running, lambda: running.secured(signed_by(keys[0], tmp_path)))

    def test_the_certificate_without_its_private_key_is_not_enough(self, serve, keys, tmp_path):
        """The certificate is public: a listener that has only that cannot be taken for the agent."""
        stolen = tmp_path / "stolen.pem"
        stolen.write_text(Path(keys[0]).read_text().partition("-----END PRIVATE KEY-----\n")[2])
        with pytest.raises(ssl.SSLError):
            serve(keys[0]).secured(str(stolen))

    def test_no_session_is_resumed(self, serve, keys):
        running = serve(keys[0])
        connection = running.secured(keys[0])
        assert is_echoed(connection)
        assert connection.session is None or not connection.session.has_ticket
        assert not connection.session_reused

    def test_a_host_without_tls_is_told_in_tls(self, serve, keys):
        running = serve(keys[0])
        assert everything(plain(running)) == tcp.TLS_ALERT
        assert running.desk.nobody_was_taken()

    def test_a_host_with_a_key_is_told_that_there_is_none(self, serve, keys):
        running = serve()
        connection = running.connect()
        connection.sendall(b"\x16\x03\x01\x00\x05hello")
        decoder = Decoder()
        decoder.feed(everything(connection))
        frame = decoder.next_frame()
        assert frame.type is FrameType.ERROR
        message = unpack_message(frame.payload)
        assert "has no key" in message.text("what")
        assert "--key" in message.text("next_step")
        assert running.desk.nobody_was_taken()

    def test_what_crosses_the_line_cannot_be_read(self, serve, keys):
        running = serve(keys[0])
        with Relay(running.port) as relay:
            connection = Key(keys[0]).wrap(relay.connect(), server_side=False)
            Key(keys[0]).shake_hands(connection, 10)
            assert is_echoed(connection)
            connection.close()
        assert len(relay.seen) > 2 * len(SECRET)
        assert SECRET[:12] not in relay.seen

    @pytest.mark.parametrize("to_agent", [True, False], ids=["to the agent", "to the host"])
    def test_what_is_altered_on_the_way_ends_the_connection(self, serve, keys, to_agent):
        running = serve(keys[0])
        with Relay(running.port) as relay:
            connection = Key(keys[0]).wrap(relay.connect(), server_side=False)
            Key(keys[0]).shake_hands(connection, 10)
            assert is_echoed(connection)
            relay.alter = to_agent, not to_agent
            connection.sendall(SECRET)
            assert not survives(connection)
            connection.close()


def survives(connection):
    """Whether anything at all arrives after it was altered."""
    try:
        return connection.recv(len(SECRET)) != b""
    except OSError:
        return False


class Relay:
    """Someone in the middle, who sees every byte and may flip one in each piece."""

    def __init__(self, port):
        self._port, self.seen, self.alter, self._open = port, bytearray(), (False, False), []

    def connect(self):
        host, near = socket.socketpair()
        far = socket.create_connection(("127.0.0.1", self._port), 10)
        self._open = [near, far]
        self._threads = [threading.Thread(target=self._pass_on, args=pair) for pair in ((near, far, 0), (far, near, 1))]
        for thread in self._threads:
            thread.start()
        return host

    def _pass_on(self, source, target, way):
        with contextlib.suppress(OSError):
            while data := bytearray(source.recv(1 << 16)):
                self.seen += data
                data[-1] ^= self.alter[way]
                target.sendall(data)
        for each in (source, target):
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        for thread in self._threads:
            thread.join(10)
        for each in self._open:
            each.close()


class TestStrangers:
    @pytest.fixture(autouse=True)
    def hurried(self, monkeypatch):
        monkeypatch.setattr(tcp, "ADMISSION_S", 0.5)

    @pytest.mark.parametrize("said", [b"", b"\x16", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"])
    def test_silent_and_half_open_ones_are_dropped_in_time(self, serve, keys, said):
        running, start_s = serve(keys[0]), time.monotonic()
        connection = running.connect()
        connection.sendall(said)
        everything(connection)
        assert 0.3 < time.monotonic() - start_s < 5
        assert running.desk.nobody_was_taken()

    def test_one_that_trickles_is_dropped_in_time_too(self, serve, keys):
        running = serve(keys[0])
        connection = running.connect()
        start_s = time.monotonic()
        with pytest.raises(OSError):  # noqa: PT012  # whichever byte it is at
            for byte in b"\x16\x03\x01\x40\x00\x01" + bytes(100):
                connection.sendall(bytes([byte]))
                time.sleep(0.1)
        assert time.monotonic() - start_s < 5
        assert running.desk.nobody_was_taken()

    def test_a_silent_one_without_a_key_is_dropped_too(self, serve):
        running = serve()
        start_s = time.monotonic()
        assert everything(running.connect()) == b""
        assert 0.3 < time.monotonic() - start_s < 5

    def test_one_that_goes_at_once_leaves_nothing(self, serve, keys):
        running = serve(keys[0])
        for _ in range(20):
            running.connect().close()
        assert is_echoed(running.secured(keys[0]))
        assert wait_until(lambda: not running.listener._pending)

    @pytest.mark.parametrize("garbage", [bytes(1000), b"GET / HTTP/1.1\r\n\r\n", b"\x16" * 5000])
    def test_garbage_is_refused_and_the_agent_goes_on(self, serve, keys, garbage):
        running = serve(keys[0])
        connection = running.connect()
        with contextlib.suppress(OSError):
            connection.sendall(garbage)
            assert SECRET not in everything(connection)
        assert running.desk.nobody_was_taken()
        assert is_echoed(running.secured(keys[0]))


class TestCrowd:
    def test_the_oldest_stranger_makes_room_so_a_host_gets_in_at_once(self, serve, keys):
        running = serve(keys[0])
        crowd = [running.connect() for _ in range(3 * tcp.MAX_PENDING)]
        start_s = time.monotonic()
        assert is_echoed(running.secured(keys[0]))
        assert time.monotonic() - start_s < tcp.ADMISSION_S / 2
        assert len(running.listener._pending) <= tcp.MAX_PENDING
        assert everything(crowd[0]) == b""

    def test_too_many_hosts_are_told_and_one_that_goes_makes_room(self, serve):
        running = serve()
        hosts = []
        for _ in range(tcp.MAX_OPEN):
            hosts.append(running.connect())
            assert is_echoed(hosts[-1])
        late = plain(running)
        decoder = Decoder()
        decoder.feed(everything(late))
        said = unpack_message(decoder.next_frame().payload)
        assert f"{tcp.MAX_OPEN} hosts already" in said.text("what")
        assert said.text("reason") == "busy"
        hosts[3].close()
        assert wait_until(lambda: len(running.listener._open) < tcp.MAX_OPEN)
        assert is_echoed(running.connect())


@pytest.fixture(params=["plain", "tls"])
def pair(request, keys):
    """Both ends of one connection: a SocketStream on each."""
    left, right = socket.socketpair()
    if request.param == "tls":
        key = Key(keys[0])
        left, right = key.wrap(left, server_side=True), key.wrap(right, server_side=False)
        thread = threading.Thread(target=key.shake_hands, args=(left, 10))
        thread.start()
        key.shake_hands(right, 10)
        thread.join()
    streams = SocketStream(left), SocketStream(right)
    yield streams
    for each in streams:
        each.close()


def soon(seconds=60.0):
    return time.monotonic() + seconds


class TestStream:
    def test_both_directions_at_once_with_two_threads_at_each_end(self, pair):
        size = 20 << 20
        sent = [bytes(range(start, 256)) * (size // (256 - start)) for start in (0, 3)]
        got = [bytearray(), bytearray()]

        def read(index):
            while len(got[index]) < len(sent[1 - index]):
                got[index] += pair[index].receive(soon())

        threads = [threading.Thread(target=read, args=(i,)) for i in (0, 1)]
        threads += [threading.Thread(target=pair[i].send, args=(sent[i], soon())) for i in (0, 1)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(90)
        assert got[0] == sent[1]
        assert got[1] == sent[0]

    def test_nothing_comes_until_the_deadline(self, pair):
        start_s = time.monotonic()
        assert pair[0].receive(start_s + 0.2) is None
        assert 0.15 < time.monotonic() - start_s < 10
        assert pair[0].receive(start_s) is None

    def test_who_does_not_read_is_given_up_at_the_deadline(self, pair):
        start_s = time.monotonic()
        assert not pair[0].send(bytes(64 << 20), start_s + 0.3)
        assert 0.2 < time.monotonic() - start_s < 10

    def test_who_reads_slowly_for_ever_is_given_up_too(self, pair):
        stop = threading.Event()

        def sip():
            while not stop.is_set():
                pair[1].receive(soon(0.05))
                time.sleep(0.005)

        thread = threading.Thread(target=sip)
        thread.start()
        start_s = time.monotonic()
        assert not pair[0].send(bytes(1 << 30), start_s + 0.5)
        assert time.monotonic() - start_s < 20
        stop.set()
        thread.join()

    def test_closing_wakes_a_reader_at_either_end(self, pair):
        ended = []

        def read(stream):
            try:
                ended.append(stream.receive(None))
            except OSError:
                ended.append(b"")

        threads = [threading.Thread(target=read, args=(each,)) for each in pair]
        for thread in threads:
            thread.start()
        time.sleep(0.2)
        pair[0].close()
        for thread in threads:
            thread.join(20)
        assert ended == [b"", b""]

    def test_after_closing_nothing_is_sent_not_even_in_the_clear(self, pair):
        pair[0].close()
        pair[0].close()
        with pytest.raises(BrokenPipeError):
            pair[0].send(SECRET, soon())
        with pytest.raises(BrokenPipeError):
            pair[0].receive(soon())
        assert pair[1].receive(soon()) == b""

    def test_the_descriptor_is_free_once_nobody_uses_it(self, pair):
        def wait():
            with contextlib.suppress(OSError):
                pair[0].receive(None)

        waiting = threading.Thread(target=wait)
        waiting.start()
        time.sleep(0.1)
        pair[0].close()
        waiting.join(20)
        assert pair[0]._socket.fileno() == -1


class TestChannel:
    def test_a_host_that_takes_nothing_is_gone(self, pair, monkeypatch):
        monkeypatch.setattr(tcp, "STALL_S", 0.3)
        channel, start_s = TcpChannel(pair[0], "host", lambda _: None), time.monotonic()
        with pytest.raises(BrokenPipeError, match="host is gone"):
            channel.write(bytes(64 << 20))
        assert time.monotonic() - start_s < 10

    def test_the_end_is_an_empty_read_and_a_broken_pipe(self, pair):
        ended = []
        channel = TcpChannel(pair[0], "host", ended.append)
        pair[1].close()
        assert channel.read() == b""
        with pytest.raises(BrokenPipeError):
            channel.write(bytes(64 << 20))
        channel.close()
        assert channel.read() == b""
        with pytest.raises(BrokenPipeError):
            channel.write(b"x")
        channel.close()
        assert set(ended) == {channel}
