"""Who is who: the file that stays with whoever runs the study.

The readers' folder holds its SHA-256.  A salt of 256 random bits in it keeps a reader from finding the key by trying seeds, and the
hash shows that nobody changed it once there were answers.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ..errors import InputError
from .sheet import SHEET, Sheet, read_sheet, sha256_of
from .trials import Trial

KEY, READERS = "key.json", "reader"


@dataclass(frozen=True)
class CaseTold:
    """A case, in words and numbers: the scan's id, its stratum, the factor, and the first slice that is shown."""

    scan: str
    modality: str
    stratum: str
    scale: int
    number: int


@dataclass(frozen=True)
class Key:
    """What the readers must not know.

    Attributes:
        study: as the sheet names it.
        methods: names from the catalogue, in the order of the tables; the first is the one that is asked about.
        seed, salt: where every choice comes from.
        settings: task, preset, models and software.
        cases: see :class:`CaseTold`.
        trials: name of the trial -> what it is.
    """

    study: str
    methods: tuple[str, ...]
    seed: int
    salt: str
    settings: dict[str, Any]
    cases: tuple[CaseTold, ...]
    trials: dict[str, Trial]

    def text(self) -> str:
        """The file ``key.json``."""
        return json.dumps(asdict(self), indent=1) + "\n"


def read_study(folder: Path) -> tuple[Sheet, Key]:
    """Questions and key of a study's folder.

    Raises:
        InputError: one of them is missing or damaged, or the key is not the one that the study was made with.
    """
    sheet = read_sheet(folder / READERS)
    path = folder / KEY
    try:
        raw = path.read_bytes()
    except OSError:
        raise InputError(f"{folder} holds no {KEY}; give the folder that 'superres3d study make' wrote, with the key in it.") from None
    if sha256_of(raw) != sheet.key_sha256:
        raise InputError(f"{path} is not the key that this study was made with, or was changed since; take the {KEY} that was written with {SHEET}.")
    content = json.loads(raw)
    trials = {name: Trial(**trial | {"panels": tuple(trial["panels"])}) for name, trial in content.pop("trials").items()}
    cases = tuple(CaseTold(**case) for case in content.pop("cases"))
    return sheet, Key(**content | {"methods": tuple(content["methods"])}, cases=cases, trials=trials)
