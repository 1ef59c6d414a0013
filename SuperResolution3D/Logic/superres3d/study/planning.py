"""``superres3d study plan``, in words."""

from __future__ import annotations

from .power import all_readers, least_cases, one_reader, simulated
from .simulating import Taste

_READERS = (2, 3, 4, 6, 8, 12, 18, 24)
_CASES = (20, 30, 50, 75, 100, 150, 200)


def advice(taste: Taste, readers: int, cases: int | None, power: float, alpha: float, times: int) -> str:
    """What a study needs, and a table of the power with other numbers.

    Args:
        taste: the preference that shall be found.
        readers: how many.
        cases: how many; None: the fewest for ``power``.
        power: that is wanted.
        alpha: level of the two-sided test.
        times: studies that are simulated, too; 0: none.

    Raises:
        InputError: a power that is none.
    """
    needed = cases or least_cases(taste, readers, power, alpha)
    lines = [
        f"If {taste.share:.0%} of the answers prefer the first method (readers differ by {taste.readers:g} and cases by {taste.cases:g} in log odds), "
        f"two-sided test at {alpha:g}, readers and cases taken as drawn at random:"
    ]
    if needed is None:
        return "\n".join([*lines, f"No number of cases gives {readers} readers a power of {power:.0%}; take more readers.", "", _grid(taste, alpha)])
    lines.append(f"{readers} readers and {needed} cases: power {all_readers(taste, readers, needed, alpha):.0%}; one reader alone, exact test: {one_reader(taste.share, needed, alpha):.0%}.")
    if times:
        lines.append(f"Of {times} simulated studies of this size {simulated(taste, readers, needed, alpha, times):.0%} found it; where that is less than you want, take more cases or readers.")
    return "\n".join([*lines, "", _grid(taste, alpha)])


def _grid(taste: Taste, alpha: float) -> str:
    rows = [f"{readers:7d} |" + "".join(f"{all_readers(taste, readers, cases, alpha):7.0%}" for cases in _CASES) for readers in _READERS]
    return "\n".join(["Power with other numbers, by formula, which is up to a tenth too high for few readers:", "readers |" + "".join(f"{cases:4d} c." for cases in _CASES), *rows])
