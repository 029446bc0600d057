"""edgeproof: conformance and profiling of models on edge devices.

The command is `edgeproof`; this package is what it runs. Nothing heavy is imported here.
"""

import os

__version__ = "0.1.0"

# onnxruntime's wheel starts a telemetry thread unless it is told not to before its first import.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
