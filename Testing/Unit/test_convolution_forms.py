"""The race of the forms of a convolution: who is let in, and who wins."""

import time

import pytest
import torch
from superres3d.engine.convolution_forms import PlainConvolution, Race
from superres3d.engine.turned_network import Style

CPU = torch.device("cpu")


class Slow(PlainConvolution):
    pass


class Quick(PlainConvolution):
    pass


class Wrong(PlainConvolution):
    pass


class Failing(PlainConvolution):
    pass


class Uneven(PlainConvolution):
    """Slower than Quick, but for its second round."""

    calls = 0


def computed(by):
    if isinstance(by, Failing):
        raise RuntimeError("not for this card")
    if isinstance(by, Uneven):
        by.calls += 1
    lucky = isinstance(by, Uneven) and by.calls == 6
    time.sleep({"Quick": 0.004, "Wrong": 0.0, "Slow": 0.012, "Uneven": 0.0 if lucky else 0.008}.get(type(by).__name__, 0.008))
    return torch.full((2, 2), 1.5 if isinstance(by, Wrong) else 1.0)


def raced(*forms):
    race = Race(computed, 0.1, CPU, records=False)
    assert len(list(race.run({kind.__name__: kind for kind in forms}))) >= 1 + len(forms)
    return race


def test_the_fastest_that_is_right_wins():
    race = raced(Slow, Wrong, Failing, Quick, Uneven)
    assert type(race.winner) is Quick
    assert race.told["Wrong"] == "ArithmeticError: differs by 0.5" and "not for this card" in race.told["Failing"]
    assert race.told["Quick"] < race.told["Uneven"] < race.told["Slow"] and race.told["Quick"] == pytest.approx(0.004, rel=0.8)


def test_without_a_right_form_the_plain_one_computes():
    assert type(raced(Wrong, Failing).winner) is PlainConvolution


def test_few_slices_are_not_timed():
    race = Race(computed, 0.1, CPU, records=False)
    for _ in race.enter({"Failing": Failing, "Slow": Slow}):
        pass
    assert type(race.winner) is Slow and "Slow" not in race.told


def test_recording_that_fails_is_told_and_the_form_is_timed_as_it_is():
    race = Race(computed, 0.1, CPU, records=True)
    for _ in race.run({"Quick": Quick, "Slow": Slow}):
        pass
    assert type(race.winner) is Quick
    assert "graphs of the race" in race.told or torch.cuda.is_available()


def test_the_style_of_a_card_races():
    assert Style().convolution == "auto" and Style().graphs
