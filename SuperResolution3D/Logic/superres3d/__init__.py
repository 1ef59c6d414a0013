"""SuperResolution3D: sharper CT and MR volumes by two-stage convolutional networks.  Not for diagnosis.

>>> from superres3d import Volume, check, read_volume, upscale, write_volume
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .scan.images import read_volume
    from .scan.labels import read_labels, upscale_labels
    from .scan.volume import Volume
    from .scan.writing import write_volume
    from .trust.selfcheck import check
    from .upscaling import upscale

__all__ = ["Volume", "check", "read_labels", "read_volume", "upscale", "upscale_labels", "write_volume"]
__version__ = "0.1.0"

_PLACES = {
    "Volume": ".scan.volume",
    "check": ".trust.selfcheck",
    "read_labels": ".scan.labels",
    "read_volume": ".scan.images",
    "upscale": ".upscaling",
    "upscale_labels": ".scan.labels",
    "write_volume": ".scan.writing",
}


def __getattr__(name: str) -> Any:
    """The public names, imported when they are asked for: the package itself loads at once."""
    if name not in _PLACES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_PLACES[name], __name__), name)
