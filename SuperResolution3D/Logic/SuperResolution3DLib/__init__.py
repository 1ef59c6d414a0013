"""What SuperResolution3D needs of 3D Slicer: nodes in and out, the child process, the comparison view."""
