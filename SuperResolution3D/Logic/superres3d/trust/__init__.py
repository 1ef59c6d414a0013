"""What a user may believe of a result: a check on the scan itself, the truth of another stack, consistency with the scan."""
