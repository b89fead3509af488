"""Ctrl-C after the network of a crystal run is trained, while the rest is fitted."""

from dataclasses import replace

import numpy as np
import pytest
from crystal_example import options

from variolite.cli import runs
from variolite.crystals import commands
from variolite.crystals.files.store import write_store
from variolite.crystals.files.textbook import textbook_crystals
from watched import Watched

PRIOR = ("prior.kind=flow", "prior.epochs=4", "prior.width=16", "prior.layers=1", "prior.heads=2")

pytestmark = pytest.mark.usefixtures("short_priors")


@pytest.fixture
def data(tmp_path):
    crystals = textbook_crystals()
    energy = -np.log(crystals.volumes / crystals.counts)
    write_store(tmp_path / "set.crystals", replace(crystals, properties={"energy": energy}))
    return tmp_path / "set.crystals"


def _stopping_at(words):
    """Progress that is interrupted at the first step that mentions ``words``."""

    def step(text):
        if words in text:
            raise KeyboardInterrupt

    return Watched(step=step)


@pytest.mark.parametrize(
    ("words", "settings", "message"),
    [
        ("epoch 2", (*PRIOR, "properties=[energy]"), "in epoch 2 of 4 of the prior. Give the same"),
        ("numbers of atoms", PRIOR, "stopped by the user"),
        ("fitting properties", ("properties=[energy]",), "stopped by the user"),
    ],
)
def test_a_fit_stopped_after_the_network_goes_on_and_ends_the_same(
    program, data, tmp_path, monkeypatch, words, settings, message
):
    out, whole = tmp_path / "run", tmp_path / "whole"
    fit = ("fit", "crystals/mp_20/vae_dng", "--data", data, *options(*settings), "--out")
    with monkeypatch.context() as patch:
        patch.setattr(runs, "PROGRESS", _stopping_at(words))
        assert message.casefold() in program.fails(*fit, out).casefold()
    samples = tmp_path / "made.csv"
    if "prior.kind=flow" in settings:
        line = program.fails("generate", out, "-n", 2, "--out", samples)
        assert "give the same command again" in line
        assert not samples.exists()
    answer = program(*fit, out)
    assert answer.code == 0, answer.err
    assert "the network is trained already" in answer.err
    assert program(*fit, whole).code == 0
    weights = [run / "model" / "weights.safetensors" for run in (out, whole)]
    assert weights[0].read_bytes() == weights[1].read_bytes()
    assert not (out / "checkpoint").exists()
    assert "a finished run is here already" in program.fails(*fit, out)


def test_a_prior_that_was_broken_off_is_in_the_way_of_no_other(
    program, data, tmp_path, monkeypatch
):
    out = tmp_path / "run"
    fit = ("fit", "crystals/mp_20/vae_dng", "--data", data, *options(), "--out", out)
    assert program(*fit).code == 0
    prior = ("crystals", "prior", out, "--data", data)
    one, other = (("--set", change) for change in ("prior.kind=flow", "prior.learning_rate=0.01"))
    more = tuple(part for change in PRIOR[1:] for part in ("--set", change))
    with monkeypatch.context() as patch:
        patch.setattr(commands, "PROGRESS", _stopping_at("epoch 2"))
        line = program.fails(*prior, *one, *more)
        assert "give the same command again to resume".casefold() in line.casefold()
    assert list((out / "checkpoint").iterdir())
    assert program(*prior, *one, *other, *more).code == 0
    assert not (out / "checkpoint").exists()
