"""The choices of the panel, as enumerations that the parameter node stores by member name.

Never rename a member: scenes that users saved hold the names.  ``value`` is the word of the
command line; ``label`` is what the panel shows.
"""

from __future__ import annotations

from enum import Enum

from slicer.i18n import tr as _
from superres3d.methods import ENSEMBLES


class Modality(Enum):
    """What the scan is; the networks are trained for one of them."""

    MR = "MR"
    CT = "CT"

    def label(self) -> str:
        """What the panel shows."""
        return self.value


class Scale(Enum):
    """The factor on each refined axis, or in its place a distance of the slices, or voxels of one size."""

    TWO = 2
    FOUR = 4
    SLICES_1_MM = "1 mm"
    ISOTROPIC = "isotropic"

    @property
    def factor(self) -> int | None:
        """None where something else takes its place."""
        return self.value if isinstance(self.value, int) else None

    @property
    def slice_spacing(self) -> float | None:
        """Millimetres between the slices of the result; None where a factor is used."""
        return 1.0 if self is Scale.SLICES_1_MM else None

    def label(self) -> str:
        """What the panel shows."""
        if self is Scale.ISOTROPIC:
            return _("Isotropic voxels")
        return _("Slices of {distance} mm").format(distance=f"{self.slice_spacing:g}") if self.slice_spacing else f"{self.value}x"


class Axes(Enum):
    """Which axes are refined."""

    ALL = "all"
    IN_PLANE = "in-plane"
    THROUGH_PLANE = "through-plane"

    def label(self) -> str:
        """What the panel shows."""
        return {
            Axes.ALL: _("All axes"),
            Axes.IN_PLANE: _("In-plane (rows and columns)"),
            Axes.THROUGH_PLANE: _("Through-plane (between slices)"),
        }[self]


class Preset(Enum):
    """How much work a network method may spend."""

    BEST = "best"
    BALANCED = "balanced"
    FAST = "fast"

    def label(self, volumetric: bool = False) -> str:
        """A volumetric network sees half as many copies as the two-stage networks."""
        return {
            Preset.BEST: _("Best"),
            Preset.BALANCED: _("Balanced (half the time)"),
            Preset.FAST: _("Fast (a quarter of the time)") if volumetric else _("Fast (a seventh of the time)"),
        }[self]


class Ensemble(Enum):
    """How many turned copies of the scan a network sees; the result is their median."""

    AUTO = "auto"
    EIGHT = "8"
    FOUR = "4"
    NONE = "none"

    def label(self, volumetric: bool = False) -> str:
        """A volumetric network sees half as many copies as the two-stage networks."""
        if self is Ensemble.AUTO:
            return _("As the quality says")
        if self is Ensemble.NONE:
            return _("None")
        return _("{count} copies").format(count=ENSEMBLES[self.value]["volume" if volumetric else "plane"])


class Noise(Enum):
    """What becomes of the scan's noise, by networks that are told of it."""

    KEEP = "keep"
    REDUCE = "reduce"

    def label(self) -> str:
        """What the panel shows."""
        return {Noise.KEEP: _("Keep (as an interpolation does)"), Noise.REDUCE: _("Reduce")}[self]


class Part(Enum):
    """Which part of the volume is upscaled."""

    WHOLE = "whole"
    ROI = "roi"
    VIEWS = "views"
    CROSSHAIR = "crosshair"

    def label(self) -> str:
        """What the panel shows."""
        return {
            Part.WHOLE: _("The whole volume"),
            Part.ROI: _("An ROI"),
            Part.VIEWS: _("What the slice views show"),
            Part.CROSSHAIR: _("A box around the crosshair"),
        }[self]


class Orientation(Enum):
    """The slices that the comparison shows; ``value`` is Slicer's name of the orientation."""

    AXIAL = "Axial"
    CORONAL = "Coronal"
    SAGITTAL = "Sagittal"

    def label(self) -> str:
        """What the panel shows."""
        return {
            Orientation.AXIAL: _("Axial"),
            Orientation.CORONAL: _("Coronal"),
            Orientation.SAGITTAL: _("Sagittal"),
        }[self]


class CompareMode(Enum):
    """How volumes are compared."""

    SIDE_BY_SIDE = "side by side"
    FLIP = "flip"
    BLEND = "blend"
    SWIPE = "swipe"
    MAGNIFIER = "magnifier"
    DIFFERENCE = "difference"

    def label(self) -> str:
        """What the panel shows."""
        return {
            CompareMode.SIDE_BY_SIDE: _("Side by side"),
            CompareMode.FLIP: _("One view: flip between two (space bar)"),
            CompareMode.BLEND: _("One view: blend two"),
            CompareMode.SWIPE: _("One view: two halves, with a line between"),
            CompareMode.MAGNIFIER: _("One view: magnifier that shows both"),
            CompareMode.DIFFERENCE: _("One view: difference"),
        }[self]

    @property
    def has_amount(self) -> bool:
        """Whether the slider means something."""
        return self in (CompareMode.BLEND, CompareMode.SWIPE, CompareMode.DIFFERENCE)
