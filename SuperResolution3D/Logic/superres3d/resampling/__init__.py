"""Mathematics on arrays: interpolation, loss of resolution, consistency with the scan."""
