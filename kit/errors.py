"""One tree of errors: each class has an exit code and a slug; each error says what, where and what to do next."""

from typing import ClassVar


class EdgeproofError(Exception):
    """Base of every error that is the user's to read.

    Args:
        what: one sentence, what is wrong.
        where: the place: file, line, key, row, column or device.
        next_step: what the user can do about it.
        kept: what of the work is not lost, when something was kept.
    """

    exit_code: ClassVar[int] = 70
    slug: ClassVar[str] = "internal"

    def __init__(self, what: str, *, where: str = "", next_step: str = "", kept: str = "") -> None:
        super().__init__(what)
        self.what = what
        self.where = where
        self.next_step = next_step
        self.kept = kept

    def __str__(self) -> str:
        return f"{self.where}: {self.what}" if self.where else self.what


class UsageError(EdgeproofError):
    """The command line cannot be carried out as it stands."""

    exit_code = 2
    slug = "usage"


class SpecError(EdgeproofError):
    """A profile, device file or dataset manifest is wrong; `where` is ``file:line``."""

    exit_code = 2
    slug = "spec"


class DatasetError(EdgeproofError):
    """A dataset's rows are wrong; `where` names file, row and column."""

    exit_code = 2
    slug = "dataset"


class ModelError(EdgeproofError):
    """A model file is refused: unreadable, malformed, unsafe or unsupported."""

    exit_code = 2
    slug = "model"


class StoreError(EdgeproofError):
    """A run folder is missing, damaged or in use."""

    exit_code = 2
    slug = "store"


class CertificateError(EdgeproofError):
    """A certificate is malformed, or does not agree with the evidence it names."""

    exit_code = 2
    slug = "certificate"


class MissingExtraError(EdgeproofError):
    """An optional library is needed; `next_step` is the install command."""

    exit_code = 2
    slug = "extra"


class DeviceError(EdgeproofError):
    """The device did something that it must not, or refused a request."""

    exit_code = 4
    slug = "device"


class LinkError(DeviceError):
    """The byte stream to a device failed: closed, timed out or corrupted."""

    slug = "link"


class MeasurementError(EdgeproofError):
    """Samples were taken but cannot be trusted or used."""

    exit_code = 5
    slug = "measurement"


class InterruptError(EdgeproofError):
    """The user interrupted the work; `kept` says what is not lost."""

    exit_code = 130
    slug = "interrupted"


class ConversionError(EdgeproofError):
    """A source model could not be converted, or the result does not agree with it."""

    exit_code = 6
    slug = "conversion"
