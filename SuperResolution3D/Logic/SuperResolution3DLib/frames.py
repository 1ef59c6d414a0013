"""The frames of a sequence: taken out one at a time, and the results put together as a sequence beside it."""

from __future__ import annotations

import slicer
import slicer.util
from slicer.i18n import tr as _
from superres3d.errors import InputError

_VOLUME = "vtkMRMLScalarVolumeNode"


def sequence_of(proxy: slicer.vtkMRMLNode) -> tuple[slicer.vtkMRMLNode, slicer.vtkMRMLNode]:
    """The sequence whose current frame a volume shows, and its browser (InputError: there is none, or it holds other content)."""
    for browser in slicer.util.getNodesByClass("vtkMRMLSequenceBrowserNode", proxy.GetScene()):
        sequence = browser.GetSequenceNode(proxy)
        if sequence is not None:
            check_sequence(sequence)
            return sequence, browser
    raise InputError(_('"{name}" is no frame of a sequence; choose one, or add the volume itself.').format(name=proxy.GetName()))


def check_sequence(sequence: slicer.vtkMRMLNode) -> None:
    """InputError if it holds other content than scalar volumes, or none."""
    kinds = {sequence.GetNthDataNode(number).GetClassName() for number in range(sequence.GetNumberOfDataNodes())}
    if kinds == {_VOLUME}:
        return
    held = ", ".join(sorted(kind.removeprefix("vtkMRML").removesuffix("Node") for kind in kinds - {_VOLUME}))
    reason = _("holds {content}, not CT or MR volumes").format(content=held) if held else _("has no frames")
    raise InputError(_('The sequence "{name}" {reason}; choose another.').format(name=sequence.GetName(), reason=reason))


def taken_out(scene: slicer.vtkMRMLScene, sequence: slicer.vtkMRMLNode, number: int, near: slicer.vtkMRMLNode | None) -> slicer.vtkMRMLScalarVolumeNode:
    """A frame as a volume of its own in the scene, in no list; ``near``, where it is given, has what the frame's tags are looked up in."""
    frame = sequence.GetNthDataNode(number)
    node = scene.AddNewNodeByClass(_VOLUME, f"{sequence.GetName()} [{number + 1}]")
    node.SetHideFromEditors(True)
    node.SetSaveWithScene(False)
    node.CopyContent(frame)
    node.CreateDefaultDisplayNodes()
    if near is not None:
        node.SetAndObserveTransformNodeID(near.GetTransformNodeID())
        if near.GetDisplayNode():
            node.GetDisplayNode().CopyContent(near.GetDisplayNode())
    return node


class FrameResults:
    """Results of a sequence's frames; they leave the scene for a sequence of their own, which the same browser plays.

    Args:
        scene: of all.
        sequence: of the frames.
        browser: that plays it.
    """

    def __init__(self, scene: slicer.vtkMRMLScene, sequence: slicer.vtkMRMLNode, browser: slicer.vtkMRMLNode):
        self._scene = scene
        self._of = sequence
        self._browser = browser
        self._made: slicer.vtkMRMLNode | None = None

    def put(self, number: int, result: slicer.vtkMRMLScalarVolumeNode, ending: str) -> str:
        """Take a frame's result; returns the name of the sequence that holds it.

        Args:
            number: of the frame, from 0.
            result: that leaves the scene.
            ending: of the sequence's name, such as ``SR x2``.
        """
        if self._made is None or not self._scene.IsNodePresent(self._made):
            self._made = self._scene.AddNewNodeByClass("vtkMRMLSequenceNode", self._scene.GenerateUniqueName(f"{self._of.GetName()} {ending}"))
            for word in ("IndexName", "IndexUnit"):
                getattr(self._made, f"Set{word}")(getattr(self._of, f"Get{word}")())
            self._made.SetIndexType(self._of.GetIndexType())
        self._made.SetDataNodeAtValue(result, self._of.GetNthIndexValue(number))
        display = result.GetDisplayNode()
        self._scene.RemoveNode(result)
        if display is not None and self._scene.IsNodePresent(display):
            self._scene.RemoveNode(display)
        if self._scene.IsNodePresent(self._browser) and not self._browser.IsSynchronizedSequenceNode(self._made.GetID(), True):
            self._browser.AddSynchronizedSequenceNode(self._made)
        return self._made.GetName()
