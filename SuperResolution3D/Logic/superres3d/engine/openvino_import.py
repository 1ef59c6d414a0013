"""OpenVINO without its telemetry.

On import OpenVINO tells its maker's server of it, unless the package ``openvino_telemetry`` is
missing.  Here it is made to seem so: nothing that works on scans may send anything anywhere.
"""

from __future__ import annotations

import re
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
from openvino import opset13 as op  # noqa: E402

MINIMUM = (2025, 0)


def version() -> tuple[int, ...]:
    """(year, number) of the release."""
    found = re.match(r"(\d+)\.(\d+)", ov.__version__)
    return tuple(map(int, found.groups())) if found else MINIMUM  # a build of one's own is taken for new enough


__all__ = ["MINIMUM", "op", "ov", "version"]
