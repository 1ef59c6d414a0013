"""What a self-check found, ready to be shown, stored and told."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from .foretold import weights

_LEVEL = 0.05  # dB: what is nearer to zero is neither ahead nor behind
_COUNTS = 0.1  # weight of a way


@dataclass(frozen=True)
class WayResult:
    """One way of making the scan coarser, and how close the method and Lanczos came back to the scan; all within the body.

    Attributes:
        way: its name, see :data:`superres3d.trust.coarser.WAYS`; "own": as the scan lost its detail, "profile": its own slice profile.
        words: the same for people, after "made coarser by".
        gain_db: the method's PSNR minus that of Lanczos.
        clean_db: the same without the scan's own noise in either error, as far as it was measured.
        psnr, psnr_lanczos: dB.
        ssim, ssim_lanczos: None where the scan is too small for them.
        along: by the scan's axis ("i", "j", "k"): gain in dB of the differences between neighbours along it.
        regions: by name ("edges", "flat", "bright"): ``share`` of the body and ``gain_db`` (None where there is no such place).
        noise: strength of what looks like noise in flat places, over that of Lanczos.
        noise_of_scan: the same over that of the scan itself.
        flicker, flicker_lanczos: error of the differences from slice to slice over the scan's own; None where slices are not refined.
        ground: what the method adds over Lanczos against what the scan has there, see :mod:`superres3d.trust.ground`: ``added`` is a share of the body;
            ``without`` (ground) and ``half`` (of it is there at least) are shares of what is added; ``recall`` is of the scan's detail; None: too few voxels.
    """

    way: str
    words: str
    gain_db: float
    clean_db: float
    psnr: float
    psnr_lanczos: float
    ssim: float | None
    ssim_lanczos: float | None
    along: Mapping[str, float | None]
    regions: Mapping[str, Mapping[str, float | None]]
    noise: float | None
    noise_of_scan: float | None
    flicker: float | None
    flicker_lanczos: float | None
    ground: Mapping[str, float | None]

    @property
    def gain_ssim(self) -> float | None:
        """The method's SSIM minus that of Lanczos."""
        return None if self.ssim is None or self.ssim_lanczos is None else self.ssim - self.ssim_lanczos


@dataclass(frozen=True)
class CheckResult:
    """A self-check: the scan made coarser once more, upscaled again, and compared with itself.

    Attributes:
        method, preset, modality: what was checked, as :func:`superres3d.upscaling.upscale` calls it.
        factors_ijk: by which the scan was made coarser along its axes i, j, k.
        ways: one result for each way of making it coarser.
        sample: ``share`` of the scan that was looked at and ``words`` for it.
        clear: how clearly the scan has lost detail, 0 to 1: so much the way in which it lost it counts before the others; see :mod:`superres3d.trust.foretold`.
        expected_db: gain that is expected at the scan's own scale.
        expected_within_db: so far off it was at most on four of five validation scans.
        notes: what was assumed or left out, one sentence each.
        seconds: that the check took.
        careful, adapted: whether doubtful detail was taken back, and whether the network went on learning, in what was checked.
        statement: the one sentence to remember.
        sentences: what was found, the most important first.
        warnings: what speaks against the method on this scan, with what to do.
        cannot_show: what the check leaves open.
    """

    method: str
    preset: str | None
    modality: str
    factors_ijk: tuple[int, int, int]
    ways: tuple[WayResult, ...]
    sample: Mapping[str, Any]
    clear: float = 0.0
    expected_db: float | None = None
    expected_within_db: float | None = None
    notes: tuple[str, ...] = ()
    seconds: float = 0.0
    careful: bool = False
    adapted: bool = False
    statement: str = ""
    sentences: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    cannot_show: tuple[str, ...] = ()

    @property
    def called(self) -> str:
        """The method with what was asked for beside it, for sentences."""
        beside = [words for words, asked in (("careful", self.careful), ("learning on the scan", self.adapted)) if asked]
        return " ".join([self.method, *(["with " + " and ".join(beside)] if beside else [])])

    @property
    def weights(self) -> list[float]:
        """How much each way counts in a mean; they sum to one."""
        return weights([way.way for way in self.ways], self.clear)

    @property
    def gain_db(self) -> float:
        """Mean over the ways, dB."""
        return float(np.average([way.gain_db for way in self.ways], weights=self.weights))

    @property
    def agreed(self) -> bool:
        """Whether all ways that count say the same: ahead, or not."""
        return len({way.gain_db > 0 for way, weight in zip(self.ways, self.weights) if weight > _COUNTS}) == 1

    @property
    def spread_db(self) -> tuple[float, float]:
        """Least and largest gain of the ways, dB."""
        gains = [way.gain_db for way in self.ways]
        return min(gains), max(gains)

    @property
    def gain_ssim(self) -> float | None:
        """Mean over the ways."""
        return self.mean("gain_ssim")

    @property
    def noise(self) -> float | None:
        """Mean over the ways; see :class:`WayResult`."""
        return self.mean("noise")

    @property
    def ahead(self) -> bool:
        """Whether the method came closer to the scan than Lanczos in the mean of the ways, by more than 0.05 dB."""
        return self.gain_db > _LEVEL

    @property
    def best_method(self) -> str:
        """The method that came closer: the one that was checked, or "lanczos"."""
        return self.method if self.ahead else "lanczos"

    def mean(self, name: str) -> float | None:
        """Of a number of the ways; None where none has it."""
        return self._mean([getattr(way, name) for way in self.ways])

    def region(self, name: str) -> float | None:
        """Mean gain over the ways within a region, dB."""
        return self._mean([way.regions.get(name, {}).get("gain_db") for way in self.ways])

    def added(self, name: str) -> float | None:
        """Mean over the ways of a share of what is added; see :class:`WayResult`."""
        return self._mean([way.ground.get(name) for way in self.ways])

    def along(self, axis: str) -> float | None:
        """Mean gain over the ways of the differences along an axis ("i", "j" or "k"), dB."""
        return self._mean([way.along.get(axis) for way in self.ways])

    def _mean(self, values: Sequence[float | None]) -> float | None:
        known = [(value, weight) for value, weight in zip(values, self.weights) if value is not None]
        total = sum(weight for _, weight in known)
        return sum(value * weight for value, weight in known) / total if total else None

    def to_dict(self) -> dict[str, Any]:
        """Everything, ready for JSON, numbers rounded."""
        told = {"statement": self.statement, "ahead": self.ahead, "best_method": self.best_method, "gain_db": self.gain_db, "spread_db": self.spread_db, "agreed": self.agreed}
        means = {"gain_ssim": self.gain_ssim, "noise": self.noise}
        ways = [{**asdict(way), "gain_ssim": way.gain_ssim} for way in self.ways]
        return rounded(told | means | asdict(self) | {"ways": ways})


def rounded(content: Any) -> Any:
    """Ready for JSON: floats with four decimals, tuples as lists."""
    if isinstance(content, Mapping):
        return {str(key): rounded(value) for key, value in content.items()}
    if isinstance(content, (list, tuple)):
        return [rounded(value) for value in content]
    return round(float(content), 4) if isinstance(content, (float, np.floating)) else content
