"""What a sender learns of its line (rate, round trip, errors), and the sizes and times that follow from it."""

import math

from kit.wire.packet import DATA_OVERHEAD_BYTES

QUEUE_NS = 100_000_000
"""Line time that may wait in the system's queue: a thread may oversleep, and a small message waits no longer."""

PACKET_NS = 100_000_000
"""The longest that one packet may take on the line, so that an acknowledgement does not wait longer behind it."""

ACK_DELAY_NS = 20_000_000
"""The longest that a receiver keeps an acknowledgement back."""

_MIN_PAYLOAD, _SLOW_PAYLOAD = 64, 256
_MEMORY_BYTES, _MEMORY_ERRORS = 128 << 10, 16.0
_PRIOR_ERRORS, _PRIOR_BYTES = 0.1, 6_000.0
_MARGIN_NS = 50_000_000
_FIRST_TIMEOUT_NS = 500_000_000
_LAST_TIMEOUT_NS = 2_000_000_000
_START_PACKETS, _SPARE_PACKETS = 4, 2


class LineEstimate:
    """Rates are of line bytes per second, and count what was lost as well: it took its time too."""

    def __init__(self, nominal_bytes_per_s: float | None, largest_payload: int) -> None:
        self.bytes_per_s = nominal_bytes_per_s
        self.round_trip_ns: float | None = None
        self._least_ns = math.inf
        self._variation_ns = 0.0
        self._largest = largest_payload
        self._errors, self._bytes = _PRIOR_ERRORS, _PRIOR_BYTES
        self._best_bytes = self._best()

    def saw_round_trip(self, duration_ns: int, size_bytes: int) -> None:
        """With the `size_bytes` up to it, a transmission was acknowledged after this long.

        What the line needs for the bytes is taken off, the rest smoothed as in RFC 6298, section 2.
        """
        net_ns = max(0.0, duration_ns - self._line_ns(size_bytes))
        self._least_ns = min(self._least_ns, net_ns)
        if self.round_trip_ns is None:
            self.round_trip_ns, self._variation_ns = net_ns, net_ns / 2
            return
        self._variation_ns += (abs(net_ns - self.round_trip_ns) - self._variation_ns) / 4
        self.round_trip_ns += (net_ns - self.round_trip_ns) / 8

    def saw_rate(self, size_bytes: int, duration_ns: int, *, limited: bool) -> None:
        """`size_bytes` crossed in `duration_ns`; `limited` if the sender had no more to send.

        A rate is a lower bound of what the line can do, so a higher one counts at once (as in BBR, Cardwell 2016).
        """
        if duration_ns <= 0:
            return
        rate = size_bytes / duration_ns * 1e9
        if self.bytes_per_s is None:
            self.bytes_per_s = None if limited else rate
        elif rate > self.bytes_per_s:
            self.bytes_per_s = rate
        elif not limited:
            self.bytes_per_s += (rate - self.bytes_per_s) / 4

    def saw_packet(self, size_bytes: int, *, lost: bool) -> None:
        """A data packet of `size_bytes` on the line has arrived, or has not."""
        self._errors += lost
        self._bytes += size_bytes
        if self._bytes > _MEMORY_BYTES or self._errors > _MEMORY_ERRORS:
            self._errors, self._bytes = max(self._errors / 2, _PRIOR_ERRORS), self._bytes / 2
        self._best_bytes = self._best()

    def payload_bytes(self) -> int:
        """The payload for the next packets: what wastes least, if that is neither too long nor too short."""
        best = min(self._best_bytes, max(_SLOW_PAYLOAD, int((self.bytes_per_s or 0) * PACKET_NS / 1e9)))
        return min(max(best, _MIN_PAYLOAD), self._largest)

    def window_bytes(self) -> int:
        """Line bytes that may be under way: what the line takes in a round trip, a short queue, and two packets."""
        packet = self.payload_bytes() + DATA_OVERHEAD_BYTES
        if self.bytes_per_s is None:
            return _START_PACKETS * packet
        least_ns = 0.0 if self.round_trip_ns is None else self._least_ns
        return int(self.bytes_per_s * (least_ns + QUEUE_NS) / 1e9) + _SPARE_PACKETS * packet

    def timeout_ns(self, under_way_bytes: int, unanswered: int) -> int:
        """When to ask what has arrived: after round trip and queue have passed; doubled for every unanswered probe."""
        if self.round_trip_ns is None:
            patience_ns = float(_FIRST_TIMEOUT_NS)
        else:
            patience_ns = self.round_trip_ns + 4 * self._variation_ns + _MARGIN_NS
        return int(min(self._line_ns(under_way_bytes) + patience_ns * 2**unanswered, _LAST_TIMEOUT_NS))

    def _best(self) -> int:
        """The payload that wastes least: with p errors a byte and h bytes of overhead, sqrt(h / p)."""
        return math.isqrt(int(DATA_OVERHEAD_BYTES * self._bytes / self._errors))

    def _line_ns(self, size_bytes: int) -> float:
        """How long the line needs for these bytes, as far as that is known."""
        return size_bytes / self.bytes_per_s * 1e9 if self.bytes_per_s else 0.0
