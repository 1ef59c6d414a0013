"""The choices of the panel, as enumerations that the parameter node stores by member name.

Never rename a member: scenes that users saved hold the names.  ``value`` is the word of the
command line; ``label`` is what the panel shows.
"""

from __future__ import annotations

from enum import Enum

from slicer.i18n import tr as _


class Modality(Enum):
    """What the scan is; the networks are trained for one of them."""

    MR = "MR"
    CT = "CT"

    def label(self) -> str:
        return self.value


class Scale(Enum):
    """The factor on each refined axis."""

    TWO = 2
    FOUR = 4

    def label(self) -> str:
        return f"{self.value}x"


class Axes(Enum):
    """Which axes are refined."""

    ALL = "all"
    IN_PLANE = "in-plane"
    THROUGH_PLANE = "through-plane"

    def label(self) -> str:
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

    def label(self) -> str:
        return {
            Preset.BEST: _("Best"),
            Preset.BALANCED: _("Balanced (half the time)"),
            Preset.FAST: _("Fast (a seventh of the time)"),
        }[self]


class Ensemble(Enum):
    """How many turned copies of the scan a network sees; the result is their median."""

    AUTO = "auto"
    EIGHT = "8"
    FOUR = "4"
    NONE = "none"

    def label(self) -> str:
        return {
            Ensemble.AUTO: _("As the quality says"),
            Ensemble.EIGHT: _("8 copies"),
            Ensemble.FOUR: _("4 copies"),
            Ensemble.NONE: _("None"),
        }[self]


class Orientation(Enum):
    """The slices that the comparison shows; ``value`` is Slicer's name of the orientation."""

    AXIAL = "Axial"
    CORONAL = "Coronal"
    SAGITTAL = "Sagittal"

    def label(self) -> str:
        return {
            Orientation.AXIAL: _("Axial"),
            Orientation.CORONAL: _("Coronal"),
            Orientation.SAGITTAL: _("Sagittal"),
        }[self]
