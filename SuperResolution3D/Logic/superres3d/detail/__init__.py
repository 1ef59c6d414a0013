"""What a scan shows: its real resolution along each axis, how it lost its detail, and its noise; measured on the scan itself."""
