"""What several tests of the panel do or look at."""

import psutil
import slicer
import slicer.util
from SuperResolution3DLib.choices import Axes, Scale


def volumes() -> dict:
    """All volumes of the scene by name."""
    return {node.GetName(): node for node in slicer.util.getNodesByClass("vtkMRMLScalarVolumeNode")}


def worker_pids() -> list[int]:
    """The child processes that upscale."""
    return [child.pid for child in psutil.Process().children(recursive=True) if "superres3d.cli" in " ".join(child.cmdline())]


def start_large_run(panel, make_volume):
    """Apply to a volume that keeps the worker busy for seconds, and wait until it reports progress; returns the volume."""
    volume = make_volume(shape=(60, 260, 260), spacing=(1.0, 1.0, 1.1))
    panel.parameters.inputVolume = volume
    panel.parameters.scale = Scale.FOUR
    panel.parameters.axes = Axes.IN_PLANE
    panel.choose_cubic()
    assert panel.ui.applyButton.enabled, panel.reason
    panel.ui.applyButton.click()
    panel.wait(lambda: panel.ui.progressBar.maximum == 100)
    return volume
