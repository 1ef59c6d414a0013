"""The benchmarks that make the papers' tables: every network can be drawn, and all of a table have one schedule."""

import importlib.util
import json
from pathlib import Path
from types import SimpleNamespace

import pytest

_BENCHMARKS = Path(__file__).resolve().parents[1] / "Benchmarks"


def _benchmark(name: str):
    spec = importlib.util.spec_from_file_location(f"{name}_benchmark", _BENCHMARKS / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


ARCHITECTURES, ABLATION = _benchmark("architectures"), _benchmark("ablation")
# what a row of a paper's table may differ in: the network, and who judges it
_OWN = {"method", "family", "options", "residual", "last_rate", "adversarial", "voxel_weight", "adversarial_weight", "discriminator_filters", "condition"}


@pytest.mark.parametrize("name", ARCHITECTURES.TABLES)
def test_the_networks_of_a_table_differ_in_nothing_but_the_network(name):
    table = ARCHITECTURES.TABLES[name]
    recipes = [ARCHITECTURES.recipe_of(table, network, []).as_dict() for network in table.networks]
    schedules = {json.dumps({field: value for field, value in recipe.items() if field not in _OWN}, sort_keys=True) for recipe in recipes}
    assert len(schedules) == 1
    assert len({(recipe["residual"], recipe["last_rate"]) for recipe in recipes}) == len({recipe["residual"] for recipe in recipes})  # one rate a form
    assert all(recipe["residual"] or recipe["last_rate"] == 1.0 for recipe in recipes)
    assert len({json.dumps({field: recipe[field] for field in _OWN - {"method"}}, sort_keys=True) for recipe in recipes}) == len(recipes)


def test_a_setting_of_the_command_holds_for_every_network():
    table = ARCHITECTURES.TABLES["chen2020"]
    assert {ARCHITECTURES.recipe_of(table, network, ["steps=7"]).steps for network in table.networks} == {7}


def test_a_network_is_measured_with_the_means_and_alone(monkeypatch):
    methods = ARCHITECTURES.methods.METHODS
    asked = []

    def refined(cell, low, name, protocol, progress):
        asked.append((name, name in methods and methods[name].keeps_means))
        return name, {}

    monkeypatch.setattr(ARCHITECTURES, "refined", refined)
    cell = SimpleNamespace(kind=SimpleNamespace(references=("spline",)))
    names = [name for names in (("virtual-thin-slice",), ("lanczos",)) for name, _ in ARCHITECTURES._results(cell, None, None, names)]
    assert names == ["virtual-thin-slice", "virtual-thin-slice alone", "lanczos", "spline"]
    assert asked == [("virtual-thin-slice", True), ("virtual-thin-slice", False), ("lanczos", False), ("spline", False)]
    assert methods["virtual-thin-slice"].keeps_means


def test_the_gain_is_that_of_the_network_alone():
    def row(method, subject, psnr, scale=4):
        return {"method": method, "subject": subject, "scale": scale, "psnr": psnr, "ssim": psnr / 100.0, "nrmse": 0.1}

    lanczos = [row("lanczos", "b", 33.0), row("lanczos", "a", 30.0), row("lanczos", "a", 20.0, 8)]
    mine = [row("net", "a", 30.5), row("net alone", "a", 29.0), row("net", "b", 33.5), row("net alone", "b", 31.0), row("net alone", "a", 1.0, 8)]
    assert ARCHITECTURES._texts(mine, lanczos, 4, True) == ["30.00", "0.3000", "-1.50 [-1.00, -2.00]", "32.00", "0.3200"]
    assert ARCHITECTURES._texts([row("net", "a", 30.5), row("net", "b", 33.5)], lanczos, 4, False) == ["32.00", "0.3200", "0.1000", "+0.50 [+0.50, +0.50]"]
    spline = [row("spline", "a", 30.0), row("spline, means kept", "a", 31.0)]
    assert ARCHITECTURES._texts(spline, lanczos, 4, True) == ["30.00", "0.3000", "+0.00 [+0.00]", "31.00", "0.3100"]


def test_another_seed_has_a_folder_of_its_own():
    network = ARCHITECTURES.TABLES["chen2020"].networks[0]
    folders = {ARCHITECTURES.folder_of(Path("out"), "chen2020", network, seed) for seed in (2020, 2021)}
    assert folders == {Path("out/chen2020/FSRCNN"), Path("out/chen2020/FSRCNN-seed-2021")}


def test_the_papers_sizes_are_drawn():
    # Chen 2020: as many units for fewer numbers; without the reconstruction layer fewer still
    table = ARCHITECTURES.TABLES["chen2020"]
    size = {network.name: sum(_numbers(shape) for shape in ARCHITECTURES.recipe_of(table, network, []).architecture.survey.shapes.values()) for network in table.networks}
    assert size["mDCSRN b4u4"] < size["mDCSRN b4u4-r"] < size["mDCSRN b1u16-r (DCSRN)"]
    assert size["mDCSRN b4u4"] < size["mDCSRN b6u4"] < size["mDCSRN b8u4"] < size["SRDenseNet"] < size["SRResNet"]


def _numbers(shape) -> int:
    count = 1
    for length in shape:
        count *= length
    return count


def test_the_mean_over_seeds_has_its_standard_error():
    assert ABLATION._with_error([1.0, 2.0, 3.0]) == "+2.00 ± 0.58"
    assert ABLATION._with_error([-0.25]) == "-0.25"


def test_differences_are_to_the_whole_network_of_the_same_seed():
    whole, other = ABLATION.VARIANTS[0], ABLATION.VARIANTS[2]
    found = {whole.name: [{"a": (30.0, 0.9)}, {"a": (40.0, 0.9)}], other.name: [{"a": (31.0, 0.9)}, {"a": (41.0, 0.9)}]}
    row = ABLATION._table([whole, other], found).splitlines()[-1]
    assert "| 36.00 | 0.9000 | +1.00 ± 0.00 | +1.00 ± 0.00 |" in row
