"""Receive a model: ``put`` says where to go on, takes DATA frames as they come, and accepts what has its digest."""

from kit.agent.cache import ModelCache
from kit.agent.work import Work
from kit.wire import Message


def receive(cache: ModelCache, work: Work) -> Message:
    """The reply to ``put``. Raises RefusalError; what came of a transfer that is cut off stays for the next."""
    digest, size_bytes = work.request.text("digest"), work.request.integer("size_bytes", 1)
    if cache.has(digest):
        return Message("put", {"complete": True, "received_bytes": size_bytes})
    incoming = cache.begin(digest, size_bytes)
    try:
        work.expect_data()
        work.tell(incoming.received_bytes, size_bytes)
        while incoming.received_bytes < size_bytes:
            incoming.append(work.take_data())
            work.tell_at_times(incoming.received_bytes, size_bytes)
        incoming.finish()
    finally:
        work.end_data()
        incoming.close()
    return Message("put", {"complete": True, "received_bytes": size_bytes})
