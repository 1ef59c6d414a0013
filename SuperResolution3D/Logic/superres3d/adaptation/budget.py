"""How long a network may learn on a scan, and what memory that takes."""

from __future__ import annotations

import importlib.util
import time
from collections.abc import Sequence
from dataclasses import dataclass

from ..errors import InputError
from ..resampling.profiles import PROFILES
from .pairs import pair_bytes

LEAST_SECONDS, MOST_SECONDS = 1.0, 86_400.0
MOST_MILLIMETRES = 1e3
_LIBRARY_BYTES = 600 << 20  # PyTorch, and the activations of a step


@dataclass(frozen=True)
class Budget:
    """Of an adaptation.

    Attributes:
        seconds: of this machine.
        steps: exactly so many, whatever time they take, where the result is to be the same again; 0: as many as the seconds allow.
        seed: of what is drawn.
        thickness: of the slices in millimetres, where one knows it better than the file; 0: as the file says, or as they look.
        profile: of the slices, a key of :data:`superres3d.resampling.profiles.PROFILES`; "": as is usual for the modality.
    """

    seconds: float
    steps: int = 0
    seed: int = 2020
    thickness: float = 0.0
    profile: str = ""

    @classmethod
    def of(cls, asked: float | Budget) -> Budget:
        """Checked (InputError: no time that can be given, or no PyTorch)."""
        budget = asked if isinstance(asked, Budget) else cls(float(asked))
        if not LEAST_SECONDS <= budget.seconds <= MOST_SECONDS or budget.steps < 0:
            raise InputError(f"A network cannot learn on the scan for {budget.seconds:g} seconds; give {LEAST_SECONDS:g} to {MOST_SECONDS:g}, such as 60.")
        if not 0.0 <= budget.thickness < MOST_MILLIMETRES or budget.profile not in ("", *PROFILES):
            raise InputError(f"Slices cannot be {budget.thickness:g} mm thick with the profile {budget.profile!r}; give millimetres, and one of {', '.join(PROFILES)}.")
        if importlib.util.find_spec("torch") is None:
            raise InputError("Learning on the scan needs PyTorch, which is not installed here; run: pip install 'superres3d[torch]', or leave --adapt out.")
        return budget

    def share(self, step: int, began: float) -> float:
        """Of it that is used up after so many steps since ``began`` (:func:`time.perf_counter`)."""
        return step / self.steps if self.steps else (time.perf_counter() - began) / self.seconds


def adaptation_bytes(shape: Sequence[int]) -> int:
    """Memory for an adaptation to a scan of this shape (slices, rows, columns), beside the scan."""
    return _LIBRARY_BYTES + pair_bytes(shape)
