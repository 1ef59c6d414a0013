#!/usr/bin/env python
"""Store the weights of models in 8 bits by the channel (superres3d/networks/stored.py) or as half floats, and say in their cards and pages what the file is now.

    python Testing/Benchmarks/store_in_8_bits.py models/virtual-thin-slice-ct models/srdensenet-3d-mr
    python Testing/Benchmarks/store_in_8_bits.py --half models/georgescu2020-*
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from safetensors.numpy import save
from superres3d.networks.stored import packed, read_tensors
from superres3d.networks.weights import CARD, WEIGHTS


def main(models: list[Path], half: Annotated[bool, typer.Option(help="16-bit floats, where 8 bits lose too much.")] = False) -> None:
    """See above."""
    for folder in models:
        whole, before = read_tensors(folder / WEIGHTS), json.loads((folder / CARD).read_text(encoding="utf-8"))["sha256"]
        stored = {name: tensor.astype(np.float16) for name, tensor in whole.items()} if half else packed(whole)
        content = save({name: np.ascontiguousarray(tensor) for name, tensor in stored.items()})
        after = hashlib.sha256(content).hexdigest()
        (folder / WEIGHTS).write_bytes(content)
        for page in (folder / CARD, folder / "README.md"):
            page.write_text(page.read_text(encoding="utf-8").replace(before, after), encoding="utf-8")
        print(f"{folder.name}: {len(content)} bytes, {after}")


if __name__ == "__main__":
    typer.run(main)
