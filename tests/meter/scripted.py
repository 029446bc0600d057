"""Samples of files as a script has them: what a meter's pure function is given."""

import time
from collections import Counter

import numpy as np

import kit.files
from kit.files import FileSamples


def samples_of(*columns, period_s=0.01, late=0, error_ns=1000, start_ns=10**12, t_s=None):
    """Columns of texts or numbers (None: could not be read), one a file, on an even grid or at `t_s`."""
    rows = zip(*columns, strict=True)
    texts = tuple(tuple(None if each is None else str(each) for each in row) for row in rows)
    times = np.arange(len(texts)) * period_s if t_s is None else np.array(t_s)
    return FileSamples(start_ns + np.rint(times * 1e9).astype(np.int64), texts, error_ns, late)


def wait_read(files, path, times=5):
    """Wait until the file has been read so often since now: a reading that is interrupted is let go."""
    before, deadline_s = files.reads[str(path)], time.monotonic() + 20
    while files.reads[str(path)] < before + times:
        assert time.monotonic() < deadline_s
        time.sleep(0.001)


class Reads:
    """How often each file was read, from when it is put into place by `monkeypatch`."""

    def __init__(self, monkeypatch):
        self.reads = Counter()
        read = kit.files._text

        def counted(place):
            text = read(place)
            self.reads[str(place)] += 1
            return text

        monkeypatch.setattr("kit.files._text", counted)


def energy_j(trace):
    """What a trace holds, gaps left out."""
    return float(np.nansum(trace.power_w[1:] * np.diff(trace.t_ns)) / 1e9)


def check_trace(trace):
    """What every trace promises, whatever was read."""
    assert trace.t_ns.dtype == np.int64
    assert trace.power_w.dtype == np.float64
    assert len(trace.t_ns) == len(trace.power_w) >= 2
    assert (np.diff(trace.t_ns) > 0).all()
    assert np.isnan(trace.power_w[0])
    assert trace.gaps_ns.dtype == np.int64
    assert trace.gaps_ns.shape[1:] == (2,)
    assert (np.diff(trace.gaps_ns, axis=1) > 0).all()
    inside = [tuple(gap) for gap in trace.gaps_ns.tolist() if gap[0] != trace.t_ns[-1]]
    blank = np.flatnonzero(np.isnan(trace.power_w[1:]))
    assert [(trace.t_ns[k], trace.t_ns[k + 1]) for k in blank] == inside
    assert bool(len(trace.gaps_ns) > len(inside)) <= bool(trace.ended)
    return trace
