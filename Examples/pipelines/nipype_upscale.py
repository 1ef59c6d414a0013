"""Nipype: ``superres3d upscale`` as an interface, to be a node of a workflow.

    python nipype_upscale.py SCAN

shows it in a workflow of one node: the scan with voxels of one size, beside its report.
"""

from __future__ import annotations

import sys
from pathlib import Path

from nipype import Node, Workflow
from nipype.interfaces.base import CommandLine, CommandLineInputSpec, File, TraitedSpec, traits


class UpscaleInputSpec(CommandLineInputSpec):
    """Options of ``superres3d upscale``; others go into ``args``."""

    in_file = File(exists=True, mandatory=True, position=0, argstr="%s", desc="the scan")
    out_file = File(position=1, argstr="%s", name_source="in_file", name_template="%s_upscaled.nii.gz", keep_extension=False, desc="the result")
    report = File(argstr="--report %s", name_source="in_file", name_template="%s_upscaled.json", keep_extension=False, desc="what was done")
    spacing = traits.Str(argstr="--spacing %s", desc="millimetres, or isotropic")
    scale = traits.Str(argstr="--scale %s", xor=["spacing"], desc="2, 4, or in-plane,through-plane")
    method = traits.Str(argstr="--method %s", desc="see superres3d methods")
    modality = traits.Enum("CT", "MR", argstr="--modality %s", desc="where the file does not tell it")
    progress = traits.Str("none", usedefault=True, argstr="--progress %s", desc="none keeps Nipype's log short")


class UpscaleOutputSpec(TraitedSpec):
    """What the node leaves."""

    out_file = File(exists=True)
    report = File(exists=True)


class Upscale(CommandLine):
    """One scan upscaled."""

    _cmd = "superres3d upscale"
    input_spec = UpscaleInputSpec
    output_spec = UpscaleOutputSpec


def workflow(scan: Path, folder: Path) -> Workflow:
    """Of one node; ``folder`` is where Nipype works."""
    flow = Workflow("upscaling", base_dir=str(folder))
    flow.add_nodes([Node(Upscale(in_file=str(scan.resolve()), spacing="isotropic"), "upscale")])
    return flow


if __name__ == "__main__":
    workflow(Path(sys.argv[1]), Path.cwd()).run()
