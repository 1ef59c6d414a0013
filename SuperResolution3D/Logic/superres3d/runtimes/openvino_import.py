"""OpenVINO without its telemetry.

On import OpenVINO tells its maker's server of it, unless the package ``openvino_telemetry`` is
missing.  Here it is made to seem so: nothing that works on scans may send anything anywhere.
"""

from __future__ import annotations

import sys

_TELEMETRY = "openvino_telemetry"

if "openvino" in sys.modules or _TELEMETRY in sys.modules:  # the program around has its own terms with OpenVINO
    import openvino as ov
else:
    sys.modules[_TELEMETRY] = None  # type: ignore[assignment]
    try:
        import openvino as ov
    finally:
        del sys.modules[_TELEMETRY]
from openvino import opset13 as op

MINIMUM = (2024, 4)


def version() -> tuple[int, ...]:
    """(year, number) of the release."""
    return tuple(int(part) for part in ov.__version__.split("-")[0].split(".")[:2])


__all__ = ["MINIMUM", "op", "ov", "version"]
