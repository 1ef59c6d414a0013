"""What a method adds without ground, where the truth is known.

A network draws more detail than an interpolation.  Where it draws more than a threshold, the truth shows whether there is anything of the
kind: the same voxel of the truth, too, differs from the interpolation.  A bright line that the truth has not at all, or has the other way
round, is added without ground.

>>> truth, lanczos = np.array([200.0, 0.0, 300.0]), np.zeros(3)
>>> found = ground_of(truth, lanczos, np.array([150.0, 150.0, 0.0]), 100.0)
>>> found.without_share, found.half_share, found.recall
(0.5, 0.5, 0.5)
"""

from __future__ import annotations

from dataclasses import astuple, dataclass

import numpy as np

CT_THRESHOLD_HU = 100.0
MR_THRESHOLD = 0.05  # of the data range
NO_GROUND = 0.2  # of the threshold: a truth that differs less than this has nothing of the kind
FEWEST = 100  # voxels: a share of fewer is not told
#: tissue -> from and below, HU of the truth
TISSUES: dict[str, tuple[float, float]] = {"air": (-np.inf, -500.0), "soft": (-500.0, 200.0), "bone": (200.0, np.inf)}
STATEMENT = (
    f"Added without ground: of the voxels to which the method adds more than {CT_THRESHOLD_HU:g} HU (CT) or {MR_THRESHOLD:.0%} of the data range (MR) over Lanczos, either way, "
    f"the share in which the truth differs from Lanczos by less than {NO_GROUND:.0%} of that, or the other way. "
    "At least half: the share in which the truth has at least half of what was added. "
    "Recall: of the voxels in which the truth differs from Lanczos by more than that threshold, the share in which the method added at least half of it. "
    "CT also by the truth's HU: air and lung below -500, soft tissue, bone from 200. "
    f"A share of fewer than {FEWEST} voxels is left out.",
)


@dataclass(frozen=True)
class Ground:
    """Voxels counted; two counts add up.

    Attributes:
        voxels: that were looked at.
        added: to which the method adds more than the threshold.
        without: of these, those without ground.
        half: of these, those in which the truth has at least half of what was added.
        detail: in which the truth differs from the interpolation by more than the threshold.
        recalled: of these, those in which the method added at least half of it.
    """

    voxels: int = 0
    added: int = 0
    without: int = 0
    half: int = 0
    detail: int = 0
    recalled: int = 0

    def __add__(self, other: Ground) -> Ground:
        return Ground(*(mine + its for mine, its in zip(astuple(self), astuple(other))))

    @property
    def added_share(self) -> float | None:
        """Of all voxels, those to which the method adds more than the threshold."""
        return _share(self.added, self.voxels)

    @property
    def without_share(self) -> float | None:
        """Of what is added, that without ground; None where nothing is."""
        return _share(self.without, self.added)

    @property
    def half_share(self) -> float | None:
        """Of what is added, that of which the truth has at least half; None where nothing is."""
        return _share(self.half, self.added)

    @property
    def recall(self) -> float | None:
        """Of the truth's detail, that of which the method brought back at least half; None where there is none."""
        return _share(self.recalled, self.detail)


def threshold_of(modality: str, data_range: float) -> float:
    """What counts as added, in the scan's units.

    Args:
        modality: "CT" or "MR".
        data_range: of an MR scan, in its units.
    """
    return CT_THRESHOLD_HU if modality == "CT" else MR_THRESHOLD * data_range


def ground_of(truth: np.ndarray, interpolated: np.ndarray, result: np.ndarray, threshold: float, where: np.ndarray | None = None) -> Ground:
    """What a method added, against the truth.

    Args:
        truth: (k, j, i) or any other shape.
        interpolated: what the method is compared with, of the same shape and units: Lanczos.
        result: the method's, likewise.
        threshold: above 0, in their units.
        where: bool, the voxels to look at; None: all.
    """
    truth, interpolated, result = (array if where is None else array[where] for array in (truth, interpolated, result))
    wanted, added = truth - interpolated, result - interpolated
    drawn, detail = np.abs(added) > threshold, np.abs(wanted) > threshold
    along = wanted[drawn] * np.sign(added[drawn])  # the truth's difference, in the direction of what was added
    back = added[detail] * np.sign(wanted[detail])
    return Ground(
        voxels=truth.size,
        added=len(along),
        without=int(np.count_nonzero(along < NO_GROUND * threshold)),
        half=int(np.count_nonzero(along >= 0.5 * np.abs(added[drawn]))),
        detail=len(back),
        recalled=int(np.count_nonzero(back >= 0.5 * np.abs(wanted[detail]))),
    )


def ground_by_tissue(truth: np.ndarray, interpolated: np.ndarray, result: np.ndarray, threshold: float = CT_THRESHOLD_HU) -> dict[str, Ground]:
    """As :func:`ground_of`, for each of :data:`TISSUES` by the truth's HU."""
    return {name: ground_of(truth, interpolated, result, threshold, (truth >= low) & (truth < high)) for name, (low, high) in TISSUES.items()}


def figures_of(truth: np.ndarray, interpolated: np.ndarray, result: np.ndarray, modality: str, data_range: float) -> dict[str, float]:
    """The shares for a table; what rests on fewer than :data:`FEWEST` voxels is left out.

    Args:
        truth, interpolated, result: (k, j, i), HU for CT.
        modality: "CT" or "MR".
        data_range: of an MR scan, in its units.

    Returns:
        added, ungrounded, half_grounded, recall; for CT also ungrounded_air, ungrounded_soft and ungrounded_bone.
    """
    threshold = threshold_of(modality, data_range)
    parts = ground_by_tissue(truth, interpolated, result, threshold) if modality == "CT" else {"": ground_of(truth, interpolated, result, threshold)}
    total = sum(parts.values(), Ground())
    found = {
        "added": total.added_share,
        "ungrounded": _told(total.without_share, total.added),
        "half_grounded": _told(total.half_share, total.added),
        "recall": _told(total.recall, total.detail),
        **{f"ungrounded_{name}": _told(part.without_share, part.added) for name, part in parts.items() if name},
    }
    return {name: share for name, share in found.items() if share is not None}


def _share(part: int, whole: int) -> float | None:
    return part / whole if whole else None


def _told(share: float | None, whole: int) -> float | None:
    return share if whole >= FEWEST else None
