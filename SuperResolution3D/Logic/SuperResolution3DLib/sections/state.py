"""What the sections of the panel share: the choices of the present scene, and what they ask for."""

from __future__ import annotations

from typing import Any

from superres3d.methods import METHODS
from superres3d.scan.region import Spans

from ..choices import Part, Scale
from ..job import Outputs
from ..regions import spans_of
from ..request import CONSISTENCY, Request
from ..segmentations import only_segmentation


class PanelState:
    """The choices that the panel shows.

    Attributes:
        parameters: the module's ``SuperResolution3DParameterNode``; None while there is no scene to choose for.
        refreshing: the panel writes into its own widgets; what their signals tell is no choice of the user.
    """

    def __init__(self) -> None:
        self.parameters: Any = None
        self.refreshing = False

    @property
    def editable(self) -> Any:
        """The parameters, or None while a signal of a widget must not change them."""
        return None if self.refreshing else self.parameters

    @property
    def can_be_consistent(self) -> bool:
        """Whether the chosen method refines by a factor here, so that its result can be downsampled to the scan."""
        method = METHODS.get(self.parameters.method)
        return method is not None and method.kind != "volume" and bool(self.parameters.scale.factor)

    def region(self) -> Spans | None:
        """The voxels of the chosen part (k, j, i), None: all (InputError if there is no such part)."""
        p = self.parameters
        if p.part is Part.WHOLE or p.inputVolume is None or p.inputVolume.GetImageData() is None:
            return None
        return spans_of(p.inputVolume, p.part, p.roi, p.boxSize)

    def request(self, whole: bool = False) -> Request:
        """What is asked for, or for the whole volume (InputError if the choices do not fit each other)."""
        p = self.parameters
        return Request(
            scale=p.scale.factor, axes=p.axes.value if p.scale.factor else None, slice_spacing=p.scale.slice_spacing,
            spacing=p.scale.value if p.scale is Scale.ISOTROPIC else None, noise=p.noise.value,
            method=p.method, modality=p.modality.value, preset=p.preset.value, ensemble=p.ensemble.value,
            device=p.device, memory_limit_gib=p.memoryLimit or None, compare=p.compare, consistency=CONSISTENCY if p.consistency and self.can_be_consistent else 0,
            check=p.check, careful=p.careful, error_map=p.errorMap, region=None if whole else self.region(),
        )  # fmt: skip

    def outputs(self) -> Outputs:
        """The nodes to update in place, and the segmentation to bring along (InputError: it is not clear which)."""
        p = self.parameters
        segmentation = (p.segmentation or only_segmentation(p.inputVolume.GetScene())) if p.bringSegmentation and p.inputVolume is not None else None
        return Outputs(p.outputVolume, p.comparisonVolume, segmentation)
