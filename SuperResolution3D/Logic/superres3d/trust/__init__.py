"""Whether a result can be believed: what is added without ground, how large its errors are, and what a scan tells of itself."""
