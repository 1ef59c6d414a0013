"""Scans to try the module with: two of Slicer's own sample data, under the module's name too."""

from __future__ import annotations

import slicer
from slicer.i18n import tr as _

CATEGORY = "SuperResolution3D"
#: thick slices (2.5 mm over 0.76 mm pixels): what the through-plane network is for
FIRST_SAMPLE = "SuperResolution3D CT chest, thick slices"
_DATA = "https://github.com/Slicer/SlicerTestingData/releases/download/SHA256/"
_SAMPLES = (
    (FIRST_SAMPLE, "CT-chest.nrrd", "CTChest", "4507b664690840abb6cb9af2d919377ffc4ef75b167cb6fd0f747befdb12e38e"),
    ("SuperResolution3D MR head", "MR-head.nrrd", "MRHead", "cc211f0dfd9a05ca3841ce1141b292898b2dd2d3f08286affadf823a7e58df93"),
)


def register_sample_data() -> None:
    """Add the scans to the Sample Data module; nothing is downloaded."""
    import SampleData

    logic = SampleData.SampleDataLogic
    if hasattr(logic, "registerCustomSampleDataCategory"):  # newer than Slicer 5.12.0
        logic.registerCustomSampleDataCategory(CATEGORY, title=_("SuperResolution3D"))
    for name, file, node, digest in _SAMPLES:
        logic.registerCustomSampleDataSource(
            category=CATEGORY, sampleName=name, uris=_DATA + digest, fileNames=file, nodeNames=node, checksums=f"SHA256:{digest}"
        )


def load_first_sample() -> slicer.vtkMRMLScalarVolumeNode:
    """Download (once) and load the first sample; returns its volume node (RuntimeError if that fails)."""
    import SampleData

    register_sample_data()
    nodes = SampleData.SampleDataLogic().downloadSamples(FIRST_SAMPLE)
    if not nodes:
        raise RuntimeError(_("The download failed."))
    return nodes[0]
