"""A whole evaluation on phantoms, with interpolations only."""

import csv
import json

import numpy as np
import pytest
from matplotlib.image import imread
from scipy.ndimage import gaussian_filter
from superres3d import Volume, write_volume
from superres3d.errors import Cancelled, InputError, ModelError
from superres3d.evaluation import figures, run
from superres3d.evaluation.protocol import Protocol
from superres3d.evaluation.run import evaluate_folder
from superres3d.evaluation.tables import GROUND

PROTOCOL = Protocol(methods=("lanczos", "cubic", "nearest"), scales=(2, 4), tasks=("in-plane", "3-D"), slices=12, ensemble="none", device="cpu")


def _phantom(modality: str, phase: float) -> np.ndarray:
    k, j, i = np.meshgrid(*(np.linspace(-1, 1, n) for n in (14, 34, 29)), indexing="ij")
    body = 1 / (1 + np.exp(12 * (np.sqrt(k**2 / 4 + j**2 + i**2) - 0.8)))
    waves = 1 + 0.3 * np.sin(9 * j + phase) * np.cos(8 * i) * np.cos(3 * k)
    values = body * waves
    return (values * 1400 - 1024 if modality == "CT" else values * 600).astype(np.int16)


@pytest.fixture
def data(tmp_path):
    folder = tmp_path / "data"
    folder.mkdir()
    lines = ["id,split,modality,sequence"]
    for number, (modality, sequence) in enumerate([("CT", "soft"), ("MR", "T1w"), ("MR", "FLAIR")]):
        write_volume(Volume(_phantom(modality, number), (1.0, 1.0, 2.0)), folder / f"s{number}.nii.gz")
        lines.append(f"s{number},test,{modality},{sequence}")
    lines.append("gone,lost,MR,T1w")
    (folder / "split.csv").write_text("\n".join(lines) + "\n")
    return folder


@pytest.fixture
def no_figures(monkeypatch):
    """Empty files instead of pictures, which take most of the time."""
    monkeypatch.setattr(run, "draw_comparison", lambda path, *_: path.write_bytes(b""))


@pytest.fixture
def calls(monkeypatch):
    """The methods that upscaling was asked for."""
    made = []
    true_upscale = run.upscale

    def counted(*args, **choices):
        made.append(choices["method"])
        return true_upscale(*args, **choices)

    monkeypatch.setattr(run, "upscale", counted)
    return made


def _evaluate(data, out, protocol=PROTOCOL, **choices):
    return evaluate_folder(data, data / "split.csv", choices.pop("subset", "test"), out, protocol, **choices)


def test_evaluation_writes_everything(data, tmp_path, no_figures):
    out = tmp_path / "deep" / "out"
    text = _evaluate(data, out)
    assert text == (out / "tables.md").read_text()
    assert "s0, 3-D 4x: not measured, 3 low-resolution slices, fewer than 4." in text
    for heading in ("## Protocol", "### CT, in-plane", "### MR T1, 3-D", "## Gain over Lanczos", "## Gain of cubic over Lanczos, by subject"):
        assert heading in text

    content = json.loads((out / "results.json").read_text())
    rows = {(row["subject"], row["task"], row["scale"], row["method"]): row for row in content["results"]}
    assert len(rows) == len(content["results"]) == 3 * 3 * 3  # subjects, cells that are measured, methods
    for cell in {key[:3] for key in rows}:
        assert all(rows[(*cell, "lanczos")][metric] > rows[(*cell, "nearest")][metric] for metric in ("psnr", "ssim"))
    with open(out / "results.csv", newline="") as file:
        lines = list(csv.DictReader(file))
    assert {row["method"] for row in content["results"] if "added" in row} == {"cubic", "nearest"}
    told = [row for row in content["results"] if row["method"] != "lanczos"]
    assert all(0 <= row[share] <= 1 for row in told for share in GROUND if share in row)
    assert "Added over Lanczos, and its ground in the truth:" in text
    lines = [line for line in lines if line["metric"] not in GROUND]
    assert len(lines) == 9 * 5 + 18 * 3 + 9 * 2  # five metrics of CT, three of MR, two more where slices are refined
    assert sorted(path.name for path in out.glob("*.png")) == [
        f"figure-{subject}-{cell}.png" for subject in ("s0", "s1") for cell in ("3-D-x2", "in-plane-x2", "in-plane-x4")
    ]


SMALL = Protocol(methods=("lanczos", "cubic"), scales=(2,), tasks=("in-plane",), slices=8, ensemble="none")


def test_evaluation_goes_on_where_it_stopped(data, tmp_path, calls, no_figures):
    file = tmp_path / "results.json"
    _evaluate(data, tmp_path, subjects=("s0",))
    calls.clear()
    content = json.loads(file.read_text())
    content["results"][0]["psnr"] = 77.0  # a mark that a recomputation would wipe out
    file.write_text(json.dumps(content))
    _evaluate(data, tmp_path, subjects=("s0",))
    assert calls == []
    assert json.loads(file.read_text())["results"][0]["psnr"] == 77.0


def test_only_what_is_new_or_changed_is_computed(data, tmp_path, calls, no_figures):
    out = tmp_path / "out"
    _evaluate(data, out, SMALL)
    assert calls == ["lanczos", "cubic"] * 3
    calls.clear()
    more = Protocol(methods=("lanczos", "cubic", "linear"), scales=(2,), tasks=("in-plane",), slices=8, ensemble="none")
    _evaluate(data, out, more, subjects=("s2",))  # s2 becomes the first MR subject: its figure is drawn as well
    assert calls == ["lanczos", "cubic", "linear"]
    content = json.loads((out / "results.json").read_text())
    assert {row["subject"] for row in content["results"]} == {"s2"}
    assert {row["subject"] for row in content["earlier"]} == {"s0", "s1"}
    calls.clear()
    write_volume(Volume(_phantom("MR", 9.0), (1.0, 1.0, 2.0)), data / "s1.nii.gz")
    _evaluate(data, out, SMALL)
    assert calls == ["lanczos", "cubic"]  # the changed scan alone


def test_a_figure_is_a_picture_with_a_column_a_panel(data, tmp_path):
    _evaluate(data, tmp_path, SMALL, subjects=("s0",))
    height, width = imread(tmp_path / "figure-s0-in-plane-x2.png").shape[:2]
    assert abs(width - 4 * figures._PANEL * figures._DPI) < 2  # libraries round in their own ways
    assert height > 3 * figures._PANEL * figures._DPI  # the slice is higher than wide; its part and the error are square
    assert not list(tmp_path.glob(".*"))


def test_a_lost_figure_is_drawn_again(data, tmp_path, calls, no_figures):
    _evaluate(data, tmp_path, SMALL, subjects=("s1",))
    (tmp_path / "figure-s1-in-plane-x2.png").unlink()
    calls.clear()
    _evaluate(data, tmp_path, SMALL, subjects=("s1",))
    assert calls == ["lanczos", "cubic"]
    assert (tmp_path / "figure-s1-in-plane-x2.png").exists()


def test_an_interruption_keeps_what_is_finished(data, tmp_path, monkeypatch, no_figures):
    true_upscale = run.upscale
    done = []

    def interrupted(*args, **choices):
        if len(done) == 3:  # within the second subject
            raise KeyboardInterrupt
        done.append(1)
        return true_upscale(*args, **choices)

    monkeypatch.setattr(run, "upscale", interrupted)
    with pytest.raises(Cancelled, match="2 finished results are kept"):
        _evaluate(data, tmp_path / "out", SMALL)
    assert len(json.loads((tmp_path / "out" / "results.json").read_text())["results"]) == 2


def test_a_missing_model_ends_it_before_any_work(data, tmp_path, monkeypatch):
    monkeypatch.setattr("superres3d.networks.weights.model_folders", list)
    with pytest.raises(ModelError, match="georgescu2020-ct-plane-x2"):
        _evaluate(data, tmp_path / "out", Protocol(methods=("lanczos", "georgescu2020"), scales=(2,)))
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    "content, choices, expected",
    [
        ("id,modality\ns0,CT\n", {}, "has no column split"),
        ("id,split,modality\ns0,test,CT\n", {"subset": "tset"}, "no subset 'tset'; use one of test"),
        ("id,split,modality\ns0,test,CT\n", {"subjects": ("s9",)}, "no subject 's9'; use one of s0"),
        ("id,split,modality\ns0,test,PET\n", {}, "modality 'PET'; use CT or MR"),
        ("id,split,modality\ngone,test,CT\n", {}, "No scan named gone"),
        ("id,split,modality\ns0,test,CT\ns0,test,CT\n", {}, "s0 more than once"),
        (None, {}, "cannot be read"),
    ],
)
def test_bad_input_is_refused_in_one_sentence(data, tmp_path, content, choices, expected):
    (data / "split.csv").unlink()
    if content:
        (data / "split.csv").write_text(content)
    with pytest.raises(InputError, match=expected) as caught:
        _evaluate(data, tmp_path / "out", SMALL, **choices)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "out").exists()


def test_a_foreign_results_file_is_not_overwritten(data, tmp_path):
    (tmp_path / "results.json").write_text("[1, 2]")
    with pytest.raises(InputError, match="not a results file"):
        _evaluate(data, tmp_path, SMALL)
    assert (tmp_path / "results.json").read_text() == "[1, 2]"


def test_the_tasks_of_the_volumetric_networks(tmp_path):
    """Linear, Lanczos and the spline on both; only what fits a scan's modality is done."""
    random = np.random.default_rng(3)
    ct = gaussian_filter(random.standard_normal((36, 40, 44)), 1.5) * 3000
    write_volume(Volume(ct.astype(np.int16), (0.8, 0.8, 2.0)), tmp_path / "a.nii.gz")
    write_volume(Volume(_phantom("MR", 1.0), (1.0, 1.0, 2.0)), tmp_path / "b.nii.gz")
    (tmp_path / "split.csv").write_text("id,split,modality\na,test,CT\nb,test,MR\n")
    protocol = Protocol(methods=("lanczos", "linear"), tasks=("k-space", "thick-slice"), device="cpu")
    text = _evaluate(tmp_path, tmp_path / "out", protocol)
    rows = json.loads((tmp_path / "out" / "results.json").read_text())["results"]
    assert {(r["subject"], r["task"], r["scale"]) for r in rows} == {("b", "k-space", 2), *((s, "thick-slice", f) for s in "a" for f in (4, 5, 8))}
    assert {r["method"] for r in rows if r["subject"] == "a"} == {"lanczos", "linear", "spline", "spline, means kept"}
    _check_order({(r["task"], r["scale"], r["method"]): r for r in rows if (r["subject"], r["task"]) != ("b", "thick-slice")})
    for heading in ("From slice to slice:", "### CT, thick-slice", "### MR, k-space", "Blur of the truth: ", "| Method | parameters | NRMSE 4x |"):
        assert heading in text
    assert sorted(path.name for path in (tmp_path / "out").glob("*.png")) == ["figure-a-thick-slice-x4.png", "figure-a-thick-slice-x5.png", "figure-a-thick-slice-x8.png", "figure-b-k-space-x2.png"]


def _check_order(values) -> None:
    """What is better than what, by (task, factor, method)."""
    psnr = {method: values["thick-slice", 4, method]["psnr"] for method in ("linear", "spline", "spline, means kept")}
    assert psnr["linear"] < psnr["spline"] < psnr["spline, means kept"]
    assert psnr["spline"] > values["thick-slice", 8, "spline"]["psnr"]
    assert values["thick-slice", 4, "linear"]["voxels"] == 36 * 20 * 22  # reduced twofold in-plane, as its slices are wide
    assert values["k-space", 2, "lanczos"]["nrmse"] < values["k-space", 2, "linear"]["nrmse"]
    assert values["thick-slice", 4, "spline"]["flicker"] < values["thick-slice", 8, "spline"]["flicker"] < 1
