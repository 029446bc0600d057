"""Types that every record uses: arrays, how a figure was obtained, and in which arithmetic."""

from typing import Literal

import numpy as np
from numpy.typing import NDArray

Int64Array = NDArray[np.int64]
Float64Array = NDArray[np.float64]
Float32Array = NDArray[np.float32]

Obtained = Literal["measured", "emulated", "estimated", "computed", "absent"]
"""How a figure was obtained.

measured: by an instrument or clock on the real thing. emulated: by an emulated device or meter.
estimated: from a declared model; it informs and never passes. computed: exactly, from the file alone
or by an exact arithmetic model. absent: not obtained; never zero, never a pass.
"""

Arithmetic = Literal["default", "exact", "saturating"]
"""default: the runtime's own kernels on that processor; exact: integer sums without saturation
(what ARM and VNNI compute); saturating: the 16-bit pair sums of x86 without VNNI, computed."""
