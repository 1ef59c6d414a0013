"""SuperResolution3D: sharper CT and MR volumes by two-stage convolutional networks.  Not for diagnosis."""

__version__ = "0.1.0"
