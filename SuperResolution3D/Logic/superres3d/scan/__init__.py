"""The scan: voxels with their place in the patient, its files, its intensities."""
