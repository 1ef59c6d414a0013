"""The findings as Markdown; the first table is like Table VI of Georgescu 2020."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from ..upscaling import NOT_FOR_DIAGNOSIS
from .agreement import Kappa
from .findings import LEAST_CATCHES, Comparison, Findings, Rated
from .mixed import Effect
from .preference import Share
from .strength import Strength

_NONE = "n.a."
SIMULATED = "**Simulated readers: no person looked at these pictures, and nothing here says how good a method is.**"
_STATISTICS = (
    "Share: of the answers that preferred the method; \"no difference\" is left out and counted. A reader's interval and p: exact binomial (Clopper-Pearson), against one half, not corrected for the number of readers.",
    "Together: readers and cases are both taken as drawn at random (two crossed random effects; Korn-Graubard interval), so the interval is about readers and cases like these.",
    "Within a reader: Cohen's kappa on the cases that came twice, sides swapped (ratings: quadratic weights). Between readers: Fleiss' kappa, bootstrap interval over cases. "
    "Where nearly all answers are alike kappa is low or n.a. by its nature; the share of equal answers stands beside it.",
    "Mixed model: logistic, readers and cases as random effects, side and time as fixed ones; its interval is approximate. It tells of a typical reader before a typical case; the share together is the mean over all.",
)


def render(findings: Findings) -> str:
    """All tables."""
    parts = ["# Reader study", *([SIMULATED] if findings.simulated else []), f"{NOT_FOR_DIAGNOSIS} {_about(findings)}"]
    parts += ["## How to read it", "\n".join(f"- {line}" for line in _STATISTICS), "## Readers", _readers(findings), *_problems(findings)]
    for pair in dict.fromkeys((c.method, c.other) for c in findings.comparisons):
        parts += _choices(findings, [c for c in findings.comparisons if (c.method, c.other) == pair])
    for scale, scaled in findings.strengths.items():
        parts += [f"## All methods on one scale, {scale}x", "Bradley-Terry; the last method is 0. Bootstrap interval over readers and cases.", _strengths(scaled)]
    for rated in findings.rated:
        parts += [f"## Ratings: {rated.method} and {rated.other}, {rated.scale}x", _ratings(rated)]
    return "\n\n".join(parts) + "\n"


def _about(findings: Findings) -> str:
    key, kinds = findings.answers.key, findings.answers.key.settings["trials"]
    return (
        f"{key.settings['design']}, {key.settings['task']}, preset {key.settings['preset']}: {len(key.cases)} cases of {len({case.scan for case in key.cases})} scans, "
        f"{kinds['main']} questions, {kinds['repeat']} of them twice, {kinds['catch']} with a known answer, {len(findings.answers.readers)} readers."
    )


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table; all columns but the first are numbers."""
    lines = [f"| {' | '.join(head)} |", f"|---|{'---:|' * (len(head) - 1)}"]
    return "\n".join([*lines, *(f"| {' | '.join(row)} |" for row in rows)])


def _readers(findings: Findings) -> str:
    head = ("reader", "answered", "known answer right", "equal when asked twice", "kappa within", "median seconds", "receipt")
    rows = []
    for reader in findings.answers.readers:
        (kappa, _), (right, count) = findings.within[reader.number], findings.catches[reader.number]
        flag = " (!)" if reader.number in findings.inattentive else ""
        equal = f"{kappa.agreement:.0%} of {kappa.count}" if kappa.count else _NONE
        rows.append((reader.name, f"{reader.answered} of {reader.asked}", f"{right} of {count}{flag}", equal, _kappa(kappa), f"{findings.seconds[reader.number]:.1f}", reader.receipt))
    return table(head, rows)


def _problems(findings: Findings) -> list[str]:
    told = [problem for reader in findings.answers.readers for problem in reader.problems]
    told += [f"{reader.name} stopped after {reader.answered} of {reader.asked} questions; what was answered counts." for reader in findings.answers.readers if reader.answered < reader.asked]
    names = [reader.name for reader in findings.answers.readers if reader.number in findings.inattentive]
    told += [f"{', '.join(names)}: fewer than {LEAST_CATCHES:.0%} of the known answers right (!); shares are told with and without."] if names else []
    return ["What was found in the answers:", "\n".join(f"- {line}" for line in told)] if told else []


def _choices(findings: Findings, comparisons: Sequence[Comparison]) -> list[str]:
    method, other = comparisons[0].method, comparisons[0].other
    return [
        f"## {method} against {other}",
        _like_table_vi(findings, comparisons),
        "Together, over readers and cases:",
        _together(comparisons),
        "What should not matter, and agreement:",
        _checks(comparisons),
        *(["Mixed logistic model:", _mixed(comparisons)] if any(c.mixed for c in comparisons) else []),
    ]


def _like_table_vi(findings: Findings, comparisons: Sequence[Comparison]) -> str:
    """A row a reader; for each factor the counts, the share and its interval."""
    same = any(count.same for c in comparisons for count in c.readers.values())
    head = ["reader"]
    for c in comparisons:
        head += [f"{c.scale}x: {c.method}", c.other, *(["no difference"] if same else []), "share", "p"]
    rows = []
    for reader in findings.answers.readers:
        row = [reader.name]
        for c in comparisons:
            count = c.readers[reader.number]
            row += [str(count.method), str(count.other), *([str(count.same)] if same else []), _share(count.share), _p(count.share)]
        rows.append(row)
    last = ["**Overall in %**"]
    for c in comparisons:
        last += [_percent(c.together.value), _percent(1 - c.together.value), *([""] if same else []), "", ""]
    return table(head, [*rows, last])


def _together(comparisons: Sequence[Comparison]) -> str:
    rows = []
    for c in comparisons:
        rows.append((f"{c.scale}x, all", _share(c.together), _p(c.together)))
        rows += [(f"{c.scale}x, without (!)", _share(c.attentive), _p(c.attentive))] if c.attentive else []
        rows += [(stratum, _share(share), _p(share)) for stratum, share in c.strata.items()]
    return table(("cases", f"share for {comparisons[0].method}", "p"), rows)


def _checks(comparisons: Sequence[Comparison]) -> str:
    rows = [
        (f"{c.scale}x", _share(c.side), _p(c.side), _percent(c.order.first.value), _percent(c.order.second.value), f"{c.order.p:.3f}",
         f"{c.order.seconds[0]:.1f} / {c.order.seconds[1]:.1f}", _percent(c.between.agreement), _kappa(c.between))
        for c in comparisons
    ]  # fmt: skip
    return table(("factor", "left preferred", "p", "share, first half", "second half", "p", "seconds, first / second half", "equal pairs of answers between readers", "kappa between"), rows)


def _mixed(comparisons: Sequence[Comparison]) -> str:
    rows = []
    for c in comparisons:
        if c.mixed:
            m = c.mixed
            flag = "" if m.converged else " (did not settle)"
            rows.append((f"{c.scale}x{flag}", _as_share(m.preference), _odds(m.side), _odds(m.later), f"{m.readers:.2f}", f"{m.cases:.2f}"))
    return table(("factor", "typical share", "left, log odds", "end against beginning, log odds", "SD of readers", "SD of cases"), rows)


def _strengths(scaled: Sequence[Strength]) -> str:
    return table(("method", "log odds", "wins against the last"), [(s.method, f"{s.value:.2f} [{s.low:.2f}, {s.high:.2f}]", _percent(s.wins)) for s in scaled])


def _ratings(rated: Rated) -> str:
    rows = [(d.item, f"{d.mean:.2f}", f"{d.other:.2f}", f"{d.value:+.2f} [{d.low:+.2f}, {d.high:+.2f}]", f"{d.p:.3g}", str(d.pairs)) for d in rated.items]
    return table(("1 (worst) to 5 (best)", rated.method, rated.other, "difference", "p, over cases", "pairs"), rows)


def _share(share: Share) -> str:
    return f"{share.value:.1%} [{share.low:.1%}, {share.high:.1%}]" if share.count else _NONE


def _p(share: Share) -> str:
    return (f"{share.p:.3f}" if share.p >= 0.001 else "< 0.001") if share.count else _NONE


def _percent(value: float) -> str:
    return f"{value:.2%}" if value == value else _NONE


def _kappa(kappa: Kappa) -> str:
    return _NONE if kappa.value is None else f"{kappa.value:.2f}" + (f" [{kappa.low:.2f}, {kappa.high:.2f}]" if kappa.low is not None and kappa.high is not None else "")


def _as_share(effect: Effect) -> str:
    value, low, high = effect.share
    return f"{value:.1%} [{low:.1%}, {high:.1%}]"


def _odds(effect: Effect) -> str:
    return f"{effect.value:+.2f} [{effect.low:+.2f}, {effect.high:+.2f}]"
