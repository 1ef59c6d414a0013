"""The layouts of the comparison: one to three slice views, in a row or one below the other."""

from __future__ import annotations

from collections.abc import Sequence

import slicer

from .choices import Orientation

#: any number from 100 on is free for modules; the layout node refuses one that is taken
LAYOUT_ID = 8301
#: two 3-D views and nothing else: Slicer's own with two has three slice views below, too wide for a small screen
MODELS_LAYOUT_ID = 8291
VIEW_GROUP = 8301
#: the views' names, in their order
VIEWS = ("SuperResolution3D-1", "SuperResolution3D-2", "SuperResolution3D-3")
_STACKED = 5  # added to the number; there are three orientations
#: axes of a volume's bounds (right, anterior, superior) across and up each view
_ACROSS_UP = {Orientation.AXIAL: (0, 1), Orientation.CORONAL: (0, 2), Orientation.SAGITTAL: (1, 2)}


def register_layouts(layout: slicer.vtkMRMLLayoutNode) -> None:
    """Tell Slicer the layouts, so that a scene that was saved while comparing opens as it was.

    Each count, direction and orientation has a number of its own: a description that changed
    under the number in use would not be laid out again.
    """
    for count, orientation, stacked in _all():
        number = layout_number(count, orientation, stacked)
        if not layout.IsLayoutDescription(number):
            layout.AddLayoutDescription(number, layout_xml(count, orientation, stacked))
    if not layout.IsLayoutDescription(MODELS_LAYOUT_ID):
        layout.AddLayoutDescription(MODELS_LAYOUT_ID, _models_xml())


def layout_number(count: int, orientation: Orientation, stacked: bool = False) -> int:
    """By which the layout node knows it."""
    return LAYOUT_ID + 10 * count + list(Orientation).index(orientation) + (_STACKED if stacked else 0)


def is_ours(number: int) -> bool:
    """Whether a layout's number is one of the comparison's."""
    return number in {layout_number(*choice) for choice in _all()}


def layout_xml(count: int, orientation: Orientation, stacked: bool = False) -> str:
    """A row of ``count`` slice views, or a pile of them."""
    items = "".join(
        f'<item><view class="vtkMRMLSliceNode" singletontag="{view}">'
        f'<property name="orientation" action="default">{orientation.value}</property>'
        f'<property name="viewlabel" action="default">{number}</property>'
        f'<property name="viewgroup" action="default">{VIEW_GROUP}</property>'
        "</view></item>"
        for number, view in enumerate(VIEWS[:count], start=1)
    )
    return f'<layout type="{"vertical" if stacked else "horizontal"}" split="true">{items}</layout>'


def _models_xml() -> str:
    """The first two 3-D views, side by side."""
    items = "".join(
        f'<item><view class="vtkMRMLViewNode" singletontag="{name}"{kind}><property name="viewlabel" action="default">{name}</property></view></item>'
        for name, kind in (("1", ""), ("2", ' type="secondary"'))
    )
    return f'<layout type="horizontal">{items}</layout>'  # without a splitter: it would not halve


def better_stacked(count: int, orientation: Orientation, bounds: Sequence[float], room: tuple[float, float]) -> bool:
    """Whether ``count`` slices are shown larger one below the other than side by side.

    Args:
        bounds: of the volume: least and most along right, anterior and superior, in mm.
        room: width and height of all views together; only their ratio counts.
    """
    across, up = (bounds[2 * axis + 1] - bounds[2 * axis] for axis in _ACROSS_UP[orientation])
    if min(across, up) <= 0:
        return False
    width, height = room
    in_a_row = min(width / count / across, height / up)
    return min(width / across, height / count / up) > in_a_row


def _all() -> list[tuple[int, Orientation, bool]]:
    return [(count, orientation, stacked) for count in range(1, len(VIEWS) + 1) for orientation in Orientation for stacked in (False, True)]
