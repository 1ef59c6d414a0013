"""``python -m superres3d.cli``: how the Slicer panel starts its worker."""

from . import main

if __name__ == "__main__":
    main()
