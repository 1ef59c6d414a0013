"""Results from the disk into the scene's memory, in pieces: the window stays alive, and nothing is held twice.

A piece is copied once, from the file to where VTK keeps it.
"""

from __future__ import annotations

from collections.abc import Generator
from pathlib import Path

import vtk
from superres3d.scan.nrrd import mapped_nrrd
from vtk.util.numpy_support import get_vtk_array_type, vtk_to_numpy

#: bytes between two looks at the window
PIECE_BYTES = 32 * 2**20


def image_in_pieces(path: Path) -> Generator[float, None, vtk.vtkImageData]:
    """Yields the share that is loaded, and returns the image (InputError: the file is damaged)."""
    stored = mapped_nrrd(path)
    image = vtk.vtkImageData()
    image.SetDimensions(stored.shape[::-1])
    image.AllocateScalars(get_vtk_array_type(stored.dtype.newbyteorder("=")), 1)
    into = vtk_to_numpy(image.GetPointData().GetScalars()).reshape(stored.shape)
    slices = max(PIECE_BYTES // max(stored[0].nbytes, 1), 1)
    for begin in range(0, len(stored), slices):
        into[begin : begin + slices] = stored[begin : begin + slices]
        yield min(begin + slices, len(stored)) / len(stored)
    return image
