"""How networks meet voxels: blocks and tiles, turned copies, stages, libraries and devices, memory, progress."""
