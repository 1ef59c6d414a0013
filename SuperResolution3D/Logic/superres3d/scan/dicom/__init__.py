"""DICOM, read with pydicom: files and series, frames, stacks, pixels, a file each."""
