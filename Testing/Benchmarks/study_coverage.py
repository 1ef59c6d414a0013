"""How often the intervals of a reader study hold the truth, on simulated readers whose preference is known."""

from __future__ import annotations

import argparse

import numpy as np
from superres3d.study.mixed import fit
from superres3d.study.preference import exact, overall
from superres3d.study.simulating import Taste, table

#: share, readers, cases, spread of readers and of cases
SETTINGS = ((0.65, 6, 50, 0.5, 0.5), (0.8, 6, 20, 0.5, 0.5), (0.95, 18, 100, 1.0, 1.0), (0.5, 4, 30, 0.8, 0.3), (0.7, 3, 40, 0.3, 0.3), (0.7, 3, 40, 0.0, 0.0),
            (0.7, 6, 40, 0.0, 0.8), (0.6, 2, 30, 0.3, 0.3))  # fmt: skip


def _mixed(answers: np.ndarray, rng: np.random.Generator) -> tuple[float, float]:
    """The mixed model's interval of the preference; sides and times that do not matter."""
    reader, case = np.nonzero(np.isfinite(answers))
    found = fit(answers[reader, case].astype(bool), rng.random(reader.size) < 0.5, rng.random(reader.size), reader, case)
    return (found.preference.low, found.preference.high) if found else (-np.inf, np.inf)


def main() -> None:
    """Print a row a setting."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--times", type=int, default=1000, help="simulated studies a setting")
    parser.add_argument("--mixed", type=int, default=100, help="of these also by the mixed model, which takes a tenth of a second each")
    options = parser.parse_args()
    print("| share | readers | cases | spreads | together | mean width | one reader, exact | mixed model |\n|---:|---:|---:|---:|---:|---:|---:|---:|")
    for share, readers, cases, *spreads in SETTINGS:
        taste, rng = Taste(share, *spreads), np.random.default_rng(1)
        drawn = [table(taste, readers, cases, rng) for _ in range(options.times)]
        found = [overall(answers) for answers in drawn]
        alone = [exact(int(row.sum()), cases) for row in table(Taste(share, 0, 0), options.times, cases, rng)]
        models = [_mixed(answers, rng) for answers in drawn[: options.mixed]]
        columns = (
            np.mean([one.low <= share <= one.high for one in found]), np.mean([one.high - one.low for one in found]), np.mean([one.low <= share <= one.high for one in alone]),
            np.mean([low <= taste.centre <= high for low, high in models]) if models else np.nan,
        )  # fmt: skip
        print(f"| {share} | {readers} | {cases} | {spreads[0]}, {spreads[1]} | {columns[0]:.1%} | {columns[1]:.3f} | {columns[2]:.1%} | {columns[3]:.1%} |", flush=True)


if __name__ == "__main__":
    main()
