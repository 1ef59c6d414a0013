"""The same scans by dcm2niix, where it is installed."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import nibabel
import numpy as np
import pytest
from scipy.ndimage import binary_erosion, gaussian_filter, map_coordinates
from superres3d import Volume, read_volume

from .dicom_files import enhanced, save, stored, write_series

PROGRAM = shutil.which("dcm2niix") or shutil.which("dcm2niix", path=str(Path(sys.executable).parent))
pytestmark = pytest.mark.skipif(PROGRAM is None, reason="needs dcm2niix")


def by_dcm2niix(folder: Path, out: Path) -> nibabel.Nifti1Image:
    """The last of the volumes that it makes: of a tilted series the corrected one."""
    out.mkdir()
    subprocess.run([str(PROGRAM), "-z", "n", "-f", "f", "-o", out, folder], check=True, capture_output=True)
    image = nibabel.load(sorted(out.glob("*.nii"))[-1])
    assert isinstance(image, nibabel.Nifti1Image)
    return image


def indices_in(volume: Volume, image: nibabel.Nifti1Image) -> np.ndarray:
    """(3, n): where the voxels of the image lie in the volume, indices (i, j, k)."""
    matrix = np.eye(4)
    matrix[:3, :3], matrix[:3, 3] = volume.direction * volume.spacing, volume.origin
    voxels = np.indices(image.shape).reshape(3, -1)
    placed = np.linalg.inv(np.diag([-1, -1, 1, 1]) @ matrix) @ image.affine @ np.vstack([voxels, np.ones(voxels.shape[1])])
    return placed[:3]


@pytest.mark.parametrize("kind", ["axial", "oblique", "coronal", "enhanced"])
def test_values_at_their_places(tmp_path, kind):
    axes = {"oblique": (0.8, 0.6, 0, -0.48, 0.64, 0.6), "coronal": (1, 0, 0, 0, 0, -1)}.get(kind, (1, 0, 0, 0, 1, 0))
    voxels = stored(8, 24, 20)
    folder = save(enhanced(voxels), tmp_path / "a" / "mr.dcm").parent if kind == "enhanced" else write_series(tmp_path / "a", voxels, axes=axes)
    volume, image = read_volume(folder), by_dcm2niix(folder, tmp_path / "out")
    placed = indices_in(volume, image)
    np.testing.assert_allclose(placed, np.rint(placed), atol=0.01)
    i, j, k = np.rint(placed).astype(int)
    np.testing.assert_array_equal(volume.voxels[k, j, i], np.asanyarray(image.dataobj).ravel())


def test_gantry_tilt(tmp_path):
    """Of the other sign dcm2niix moves the corrected volume by a fraction of a pixel; the closed formula has both."""
    texture = gaussian_filter(np.random.default_rng(0).standard_normal((14, 50, 40)), 3)
    voxels = np.rint((texture - texture.min()) / np.ptp(texture) * 2000 - 1000).astype(np.int16)
    folder = write_series(tmp_path / "a", voxels, shift=lambda k: (0, -k * 2.5 * np.tan(np.radians(15))), change=lambda header, k: setattr(header, "GantryDetectorTilt", "-15"))
    volume, image = read_volume(folder), by_dcm2niix(folder, tmp_path / "out")
    assert image.shape == volume.voxels.shape[::-1]
    placed = indices_in(volume, image)
    inside = ((placed > 2) & (placed < np.array(volume.voxels.shape[::-1])[:, None] - 3)).all(axis=0)
    i, j, k = np.clip(np.rint(placed), 0, np.array(volume.voxels.shape[::-1])[:, None] - 1).astype(int)
    inside &= binary_erosion(volume.voxels != volume.voxels.min(), np.ones((1, 7, 3)))[k, j, i]
    ours = map_coordinates(volume.voxels.astype(float), placed[::-1], order=1)[inside]
    assert inside.sum() > 5000 and np.abs(ours - image.get_fdata().ravel()[inside]).max() < 10
