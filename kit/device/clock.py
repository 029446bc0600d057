"""How far a device's clock is from the host's: four timestamps a trip, as in NTP (RFC 5905, section 8)."""

import time

from kit.device.conversation import Conversation

TRIPS = 16


def offset_ns(talk: Conversation) -> tuple[int, int]:
    """Device clock less host's `time.monotonic_ns`, and its error bound, ns: the tightest of 16 trips.

    The host sends at t1 and receives at t4; the device has the request by t2 and answers no earlier than t3. Whatever
    each way takes, the offset lies between t3 - t4 and t2 - t1, so its error is at most half their distance: the trip
    less the device's own time. Raises LinkError.
    """
    best_ns, offset = 1 << 62, 0
    for _ in range(TRIPS):
        sent_ns = time.monotonic_ns()
        reply = talk.request("clock")
        back_ns = time.monotonic_ns()
        left_ns = reply.integer("clock_ns")
        arrived_ns = reply.integer("received_ns", 0, left_ns)
        low_ns, high_ns = left_ns - back_ns, arrived_ns - sent_ns
        if 0 <= high_ns - low_ns < best_ns:
            best_ns, offset = high_ns - low_ns, (low_ns + high_ns) // 2
    if best_ns == 1 << 62:
        raise talk.wrong("its clock says that it answered before it was asked")
    return offset, best_ns // 2 + 1
