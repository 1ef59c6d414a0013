"""Writes the API reference: ``python docs/api.py FOLDER``.  A warning is an error."""

from __future__ import annotations

import importlib
import importlib.util
import os
import pkgutil
import sys
import warnings
from pathlib import Path

import pdoc
import superres3d

#: The command line tells of itself with ``--help``; Triton is there only with a graphics card.
LEFT_OUT = {"superres3d.cli", *(() if importlib.util.find_spec("triton") else ("superres3d.engine.triton_layers",))}


def write_reference(folder: Path) -> None:
    """HTML pages: the public names, then each room."""
    os.environ["PDOC_ALLOW_EXEC"] = "1"  # an old library asks for the processor when it is imported
    # They come when they are asked for, and pdoc does not ask.
    vars(superres3d).update({name: getattr(superres3d, name) for name in superres3d.__all__})
    show_modules("superres3d", superres3d.__all__)
    show_modules("superres3d.engine", [])
    pdoc.render.configure(docformat="google", footer_text=f"SuperResolution3D {superres3d.__version__}")
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        # Of the fields of a NamedTuple, whose module pdoc does not look into; they are shown as they are written.
        warnings.filterwarnings("ignore", r"Error parsing type annotation ForwardRef")
        pdoc.pdoc("superres3d", output_directory=folder)


def show_modules(name: str, names: list[str]) -> None:
    """A package's page lists what ``__all__`` does: names, and now modules."""
    package = importlib.import_module(name)
    modules = [module.name for module in pkgutil.iter_modules(package.__path__) if f"{name}.{module.name}" not in LEFT_OUT]
    for module in modules:
        importlib.import_module(f"{name}.{module}")
    package.__all__ = [*names, *modules]


if __name__ == "__main__":
    write_reference(Path(sys.argv[1]))
