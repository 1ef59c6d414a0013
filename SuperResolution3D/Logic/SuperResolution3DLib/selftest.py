"""What "Reload and Test" does in Slicer's developer mode."""

from __future__ import annotations

from typing import Any

import numpy as np
import slicer
import slicer.util
from superres3d.errors import DeviceError, InputError

from .dependencies import NoInstaller
from .request import Request


class SelfTest:
    """Each step starts from an empty scene.

    Args:
        test: the module's ``ScriptedLoadableModuleTest``, for its assertions and messages.
        logic: the module's, to be tested.
    """

    def __init__(self, test: Any, logic: Any):
        self._test = test
        self._logic = logic

    def upscale(self) -> None:
        """The result covers the same space, keeps the dtype, and says how it was made."""
        self._test.delayDisplay("Upscaling a tiny volume")
        volume = _tiny_volume()
        finished = self._logic.upscale(volume, scale=2, axes="through-plane", method="cubic", compare=True)
        self._expect(finished.result, (16, 10, 12), "Tiny Cubic x2 through-plane")
        self._test.assertEqual(slicer.util.arrayFromVolume(finished.result).dtype, np.int16)
        np.testing.assert_allclose(_bounds(finished.result), _bounds(volume), atol=1e-9)
        self._test.assertEqual(finished.comparison.GetName(), "Tiny Lanczos x2 through-plane")
        self._test.assertEqual(finished.result.GetAttribute("SuperResolution3D.Factors"), "1 1 2")
        thin = self._logic.upscale(volume, sliceSpacing=1.0, method="lanczos")
        self._expect(thin.result, (32, 10, 12), "Tiny Lanczos 1 mm slices")
        self._test.delayDisplay("Upscaling passed")

    def networks(self) -> None:
        """The networks add what interpolation misses, and the result names them."""
        try:
            self._logic.ensureDependencies(Request(), NoInstaller())
        except DeviceError as error:
            self._test.delayDisplay(f"Networks not tested: {error}")
            return
        self._test.delayDisplay("Upscaling by the networks")
        finished = self._logic.upscale(_waves(), scale=2, preset="fast", modality="MR", device="cpu", compare=True)
        self._test.assertIn("sha256:", finished.result.GetAttribute("SuperResolution3D.Models"))
        upscaled, lanczos = (slicer.util.arrayFromVolume(node).astype(float) for node in (finished.result, finished.comparison))
        self._test.assertEqual(upscaled.shape, (16, 40, 48))
        self._test.assertGreater(np.corrcoef(upscaled.ravel(), lanczos.ravel())[0, 1], 0.98)
        self._test.assertTrue((upscaled != lanczos).any())
        self._test.delayDisplay("Networks passed")

    def refusal(self) -> None:
        """A label map is refused, and the scene stays as it was."""
        label = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLLabelMapVolumeNode", "Liver")
        before = slicer.mrmlScene.GetNumberOfNodes()
        with self._test.assertRaisesRegex(InputError, "label map"):
            self._logic.upscale(label)
        self._test.assertEqual(slicer.mrmlScene.GetNumberOfNodes(), before)
        self._test.delayDisplay("Refusal passed")

    def _expect(self, volume: Any, shape: tuple[int, int, int], name: str) -> None:
        """``shape`` is (k, j, i)."""
        self._test.assertEqual(slicer.util.arrayFromVolume(volume).shape, shape)
        self._test.assertEqual(volume.GetName(), name)


def _tiny_volume() -> Any:
    """8 x 10 x 12 voxels (k, j, i), with slices of 4 mm."""
    volume = slicer.util.addVolumeFromArray(np.arange(8 * 10 * 12, dtype=np.int16).reshape(8, 10, 12), name="Tiny")
    volume.SetSpacing(1.0, 1.0, 4.0)
    return volume


def _waves() -> Any:
    """8 x 20 x 24 voxels (k, j, i) with detail near the limit of their size."""
    k, j, i = np.indices((8, 20, 24))
    return slicer.util.addVolumeFromArray((500 + 400 * np.sin(0.8 * i) * np.sin(0.7 * j + 0.4 * k)).astype(np.int16), name="Waves")


def _bounds(volume: Any) -> list[float]:
    """RAS, in mm."""
    bounds = [0.0] * 6
    volume.GetRASBounds(bounds)
    return bounds
