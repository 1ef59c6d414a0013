"""DICOM, read with pydicom: files and series, frames, volumes, stacks, pixels, a file each.

``content`` tells whether a file is DICOM, ``folder`` finds the files, ``frame`` says what each slice is and where it lies, ``volumes`` keeps apart what
must not be mixed, ``stack`` puts slices in order and checks them, ``regrid`` makes a right-angled, even grid of what is tilted or uneven, ``pixels``
reads the values, and ``reading`` does all of it.
"""
