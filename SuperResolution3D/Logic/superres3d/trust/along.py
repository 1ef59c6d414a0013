"""A self-check along with a run: what is found goes into the run's report."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from ..errors import InputError, ResourceError
from ..upscaling import refined_part
from .fit import fit_of, sentences_of_fit
from .selfcheck import Told, check

if TYPE_CHECKING:
    from ..scan.volume import Volume
    from ..upscaling import Result


def check_along(volume: Volume, result: Result, progress: Told, cancelled: Callable[[], bool] | None = None, **choices: Any) -> None:
    """A scan that cannot be checked is told in the report, and its result stays.

    Args:
        volume: the scan.
        result: of the run; its report gets ``check`` and ``fit``.
        progress, cancelled: see :func:`superres3d.trust.selfcheck.check`.
        choices: the arguments of the run.

    Raises:
        Cancelled: ``cancelled`` answered true.
    """
    report = result.report
    fit = fit_of(refined_part(volume, report), result.volume, report["modality"])
    report["fit"] = {**fit, "sentences": sentences_of_fit(fit, "HU" if report["modality"] == "CT" else "")}
    try:
        found = check(volume, careful=bool(report.get("careful")), judged=True, progress=progress, cancelled=cancelled, **choices | {"method": report["method"]})
    except (InputError, ResourceError) as error:
        report["check"] = None
        report["warnings"].append(f"The check was not done: {error}")
        return
    report["check"] = found.to_dict()
    report["warnings"] += found.warnings
