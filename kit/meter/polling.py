"""What meters that are read again and again share: when they are read, and what their records say."""

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace

from kit.errors import MeasurementError, SpecError
from kit.files import Files, FileSamples, Sampling
from kit.meter.base import PowerTrace, Watched
from kit.records import MeterAccuracy, MeterRecord
from kit.spec.text import shown
from kit.spec.types import MeterSpec

MAX_RATE_HZ = 1000.0


@dataclass(frozen=True, slots=True)
class Source:
    """What a meter found to read: how to begin, and a pure function from what was read to a trace.

    settle_s: how long it is read before `start` returns and after `stop` is asked, so that updates lie outside.
    """

    description: str
    begin: Callable[[], Sampling]
    trace_of: Callable[[FileSamples], PowerTrace]
    parameters: dict[str, float] = field(default_factory=dict)
    settle_s: float = 0.0


class PollingMeter:
    """A Meter (see kit.meter.base) over a Source; its accuracy is what the device file states, else not known."""

    def __init__(self, spec: MeterSpec, source: Source) -> None:
        self._source = source
        self._record = MeterRecord(
            spec.driver, "measured", shown(source.description, 500), dict(source.parameters), stated_accuracy(spec)
        )
        self._sampling: Sampling | None = None
        self._remark = ""

    def describe(self) -> MeterRecord:
        """See Meter; after `stop`, also whether what it told may be older than the run."""
        return replace(self._record, description=self._record.description + self._remark)

    def start(self) -> None:
        """See Meter."""
        self.close()
        self._sampling = self._source.begin()
        time.sleep(self._source.settle_s)

    def stop(self) -> PowerTrace:
        """See Meter."""
        where = f"meter {self._record.name}"
        if self._sampling is None:
            raise MeasurementError("the meter was stopped before it was started", where=where)
        time.sleep(self._source.settle_s)
        sampling, self._sampling = self._sampling, None
        try:
            trace = self._source.trace_of(sampling.stop())
        except MeasurementError as error:
            raise MeasurementError(error.what, where=error.where or where, next_step=error.next_step) from None
        is_old = trace.clock_error_ns >= trace.t_ns[-1] - trace.t_ns[0]
        self._remark = "; what it told may be from before this run, which was too short for it" if is_old else ""
        return trace

    def close(self) -> None:
        """See Meter."""
        sampling, self._sampling = self._sampling, None
        if sampling is not None:
            try:
                sampling.stop()
            except Exception:  # the device may be gone, and what it read is not wanted
                return


def files_of(spec: MeterSpec, watched: Watched) -> Files:
    """The files that the meter reads. Raises MeasurementError where there are none."""
    if watched.files is None:
        step = "use an agent of this release on the device, or another meter"
        raise MeasurementError(
            "it reads files of the device, which lets none be read", where=_where(spec), next_step=step
        )
    return watched.files


def rate_hz(spec: MeterSpec, default: float) -> float:
    """How often to read, in 1/s. Raises SpecError above 1 kHz."""
    rate = spec.parameters.get("sample_rate_hz", default)
    if not 0 < rate <= MAX_RATE_HZ:
        raise SpecError(
            f"files are not read {rate:g} times a second", where=_where(spec), next_step="state at most 1 kHz"
        )
    return rate


def stated_accuracy(spec: MeterSpec) -> MeterAccuracy | None:
    """What the device file or the command line states; None where it states no share of the reading.

    Raises SpecError where it states the rest alone: that would make the gain's error zero.
    """
    share, offset_w, step_w = (spec.parameters.get(name) for name in ("accuracy_share", "offset_w", "resolution_w"))
    if share is None:
        if offset_w is None and step_w is None:
            return None
        step = 'state accuracy too, such as accuracy = "1 %"'
        raise SpecError("offset or resolution is stated without accuracy", where=_where(spec), next_step=step)
    return MeterAccuracy(share, offset_w or 0.0, step_w or 0.0, "stated with the meter by its user")


def chosen(spec: MeterSpec, names: Iterable[str], *, whole: Iterable[str] = (), noun: str = "rail") -> list[str]:
    """The names that `part` states, "A+B" for their sum; else the only one, else the first that `whole` knows.

    Rails may feed one another, so several are never added unasked. Raises MeasurementError that lists what is there.
    """
    known = list(dict.fromkeys(names))
    folded = {name.casefold(): name for name in known}
    listed = shown(", ".join(known[:40]), 2000)
    part = spec.words.get("part", "")
    if part:
        asked = [part] if part.casefold() in folded else part.split("+")
        wanted = [each.strip().casefold() for each in asked]
        missing = [each for each in wanted if each not in folded]
        if missing or len(set(wanted)) < len(wanted):
            what = f"there is no {noun} {missing[0]!r}" if missing else f"part names a {noun} twice"
            raise MeasurementError(what, where=_where(spec), next_step=f"here are: {listed}")
        return [folded[each] for each in wanted]
    if len(known) == 1:
        return known
    total = next((folded[each.casefold()] for each in whole if each.casefold() in folded), None)
    if total is not None:
        return [total]
    step = f'state part, such as part = "{known[0]}", or several that do not feed one another, joined by +'
    raise MeasurementError(f"it is not said which {noun}, of {listed}", where=_where(spec), next_step=step)


def nothing_found(spec: MeterSpec, what: str, next_step: str) -> MeasurementError:
    """The error of a meter that finds nothing to read."""
    return MeasurementError(what, where=_where(spec), next_step=next_step)


def readable(spec: MeterSpec, files: Files, path: str, next_step: str) -> str:
    """The text of a file that the meter needs. Raises MeasurementError with `next_step`."""
    try:
        return files.read(path)
    except MeasurementError as error:
        raise MeasurementError(f"{error}", where=_where(spec), next_step=next_step) from None


def text_or(files: Files, path: str, default: str = "") -> str:
    """The text of a file that may be missing, as one line that does nothing to a terminal."""
    try:
        return shown(files.read(path).strip())
    except MeasurementError:
        return default


def _where(spec: MeterSpec) -> str:
    return f"meter {spec.driver}"
