"""A network between the slices goes on learning on the scan that it is to refine."""
