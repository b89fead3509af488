"""The model file: bit-equal when whole, one clear error when not, no training row inside."""

import hashlib
import itertools
import json
import pickle
import resource
from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import safetensors.torch
import torch
from hypothesis import given
from hypothesis import strategies as st
from toy_tables import fit, fitted, small

from variolite.errors import ModelFileError
from variolite.training import Member, load_model, save_model
from variolite.training.storage import settle_weights
from variolite.training.tabular import FORMAT

FIXTURES = Path(__file__).parent / "fixtures"
DESCRIPTION, WEIGHTS = FILES = ("model.json", "weights.safetensors")
DISTINCT = 4_000
MEMBERS = (Member(0, 1.0, 2), Member(3, 0.5, 1))


@pytest.fixture(scope="module")
def rows():
    """Values, groups and ids that no model could hold by chance."""
    source = np.random.default_rng(11)
    n = DISTINCT
    values = {name: 1e3 * source.lognormal(size=n) for name in "abc"}
    values["rock"] = np.array(["clay", "ooze"])[source.integers(0, 2, n)]
    kinds = {"hole": 7, "sample": n, "lithology": 5}
    named = {name: [f"{name}-{i % k}-secret" for i in range(n)] for name, k in kinds.items()}
    return pl.DataFrame(values | named)


@pytest.fixture(scope="module")
def model(rows):
    columns = {
        "a": {"clip": [0.001, 0.999]},
        "b": {"transform": ["log", "standardise"]},
        "c": {"transform": ["quantile"]},
        "rock": {"kind": "category"},
        "hole": {"role": "group"},
        "sample": {"role": "id"},
        "lithology": {"role": "label"},
    }
    parts = {"model": small(encoder=(4,), decoder=(4,)), "members": MEMBERS}
    constant = {"kind": "constant"}
    trained = fit(*fitted(rows, columns), **parts, beta=constant, epochs=2, batch_size=500)
    return replace(trained.model, provenance={"recipe": "corelogs/v1", "seconds": 0.25})


@pytest.fixture
def folder(model, tmp_path):
    save_model(tmp_path / "model", model)
    return tmp_path / "model"


def _refuses(folder, message="."):
    with pytest.raises(ModelFileError, match=message) as caught:
        load_model(folder)
    text = str(caught.value)
    assert "\n" not in text
    assert str(folder) in text, "the error does not say where"


def test_a_model_comes_back_bit_equal(model, folder, rows, tmp_path):
    again = load_model(folder)
    assert again.members == model.members
    assert again.provenance == model.provenance
    assert again.groups == model.groups
    assert again.module.architecture == model.module.architecture
    assert again.schema.to_dict() == model.schema.to_dict()
    mine, theirs = model.module.state_dict(), again.module.state_dict()
    assert mine.keys() == theirs.keys()
    for name, value in mine.items():
        assert torch.equal(value, theirs[name])
    records, fresh = model.schema.apply(rows[:50]), again.schema.apply(rows[:50])
    for name in ("encode", "reconstruct", "evidence"):
        assert np.array_equal(getattr(model, name)(records), getattr(again, name)(fresh))
    assert again.sample(5, seed=1)["a"].tolist() == model.sample(5, seed=1)["a"].tolist()
    save_model(tmp_path / "again", again)
    for name in FILES:
        assert (tmp_path / "again" / name).read_bytes() == (folder / name).read_bytes()
    save_model(tmp_path / "one", model.only(1))
    assert load_model(tmp_path / "one").members == MEMBERS[1:]


def test_the_folder_holds_two_files_no_pickle_and_no_training_row(folder, rows):
    assert sorted(entry.name for entry in folder.iterdir()) == list(FILES)
    json.loads((folder / DESCRIPTION).read_text(encoding="utf-8"))
    safetensors.torch.load((folder / WEIGHTS).read_bytes())
    content = b"".join((folder / name).read_bytes() for name in FILES)
    # Of the rows, the names of their groups alone: what is scored later must not be among them.
    groups = json.loads((folder / DESCRIPTION).read_text(encoding="utf-8"))["groups"]
    assert groups["train"] == [f"hole{i}secret" for i in range(7)]
    assert content.count(b"secret") == 7
    for name in ("a", "b", "c"):
        for value in rows[name].to_list()[:: DISTINCT // 500]:
            assert repr(value).encode() not in content
            assert np.float64(value).tobytes() not in content
            assert np.float32(value).tobytes() not in content


@pytest.mark.parametrize("number", range(1, FORMAT + 1))
def test_every_past_format_stays_readable(number):
    folder = FIXTURES / f"model_format_{number}"
    model = load_model(folder)
    said = json.loads((folder / "said.json").read_text(encoding="utf-8"))
    assert (model.groups is None) == (number < 2)
    records = model.schema.apply(pl.read_csv(folder / "table.csv"))
    for name, settings in {"encode": {}, "reconstruct": {}, "evidence": {"samples": 3}}.items():
        found = getattr(model, name)(records, **settings)
        np.testing.assert_allclose(found, said[name], rtol=1e-4, atol=1e-4)


def test_files_that_are_missing_or_of_another_model(folder, model, tmp_path):
    _refuses(tmp_path / "nowhere", "there is no model here")
    save_model(tmp_path / "other", model.only(0))
    (folder / WEIGHTS).write_bytes((tmp_path / "other" / WEIGHTS).read_bytes())
    _refuses(folder, "of another model")
    (folder / WEIGHTS).unlink()
    _refuses(folder, "the weights are missing")
    for name in reversed(FILES):
        (folder / name).unlink(missing_ok=True)
        (folder / name).mkdir()
        _refuses(folder)


class _Trap:
    """Unpickling it leaves a trace."""

    def __reduce__(self):
        return Path.touch, (Path("unpickled"),)


FOREIGN = {
    "empty": b"",
    "random": np.random.default_rng(0).bytes(500),
    "pickle": pickle.dumps(_Trap()),
    "zip": b"PK\5\6" + bytes(18),
    "number": b"3",
    "list": b"[1, 2]",
    "other json": b'{"kind": "something else", "format": 1}',
    "text": "größer".encode("latin-1"),
    "byte order mark": b'\xef\xbb\xbf{"kind": "variolite.tabular_vae"}',
    "deep": b"[" * 100_000,
    "long number": b"1" * 5_000,
    "not a number": b'{"kind": "variolite.tabular_vae", "format": NaN}',
    "bare": b'{"kind": "variolite.tabular_vae", "format": 1}',
}


@pytest.mark.parametrize("name", FOREIGN)
def test_foreign_files(folder, name, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    for file in reversed(FILES):
        (folder / file).write_bytes(FOREIGN[name])
        _refuses(folder)
        if file == WEIGHTS and name in ("empty", "random", "pickle", "zip"):
            _resign(folder, lambda content: None)
            _refuses(folder, "the weights are damaged")
    assert not Path("unpickled").exists()


@pytest.mark.parametrize("file", FILES)
@given(position=st.floats(0.0, 0.9999), flip=st.integers(1, 255), kept=st.floats(0.0, 0.999))
def test_altered_and_truncated_files(folder, file, position, flip, kept):
    content = (folder / file).read_bytes()
    altered = bytearray(content)
    altered[int(position * len(content))] ^= flip
    try:
        (folder / file).write_bytes(altered)
        if file == DESCRIPTION and _same_json(altered, content):
            load_model(folder)  # white space between the words of JSON may change
        else:
            _refuses(folder)
        (folder / file).write_bytes(content[: int(kept * (len(content) - 2))])
        _refuses(folder)
    finally:
        (folder / file).write_bytes(content)


def _same_json(first, second):
    try:
        return bool(json.loads(first) == json.loads(second))
    except ValueError:
        return False


def _resign(folder, change):
    """Alter the description as someone would who also signs it again."""
    path = folder / DESCRIPTION
    content = json.loads(path.read_text(encoding="utf-8"))
    change(content)
    content["weights_sha256"] = hashlib.sha256((folder / WEIGHTS).read_bytes()).hexdigest()
    bare = {key: value for key, value in content.items() if key != "sha256"}
    text = json.dumps(bare, sort_keys=True, separators=(",", ":"))
    content["sha256"] = hashlib.sha256(text.encode()).hexdigest()
    path.write_text(json.dumps(content), encoding="utf-8")


@pytest.mark.parametrize("number", [FORMAT + 1, 0, -1, 1.0, "1", None, True, [1], 10**30])
def test_another_format(folder, number):
    _resign(folder, lambda content: None)
    load_model(folder)  # signing again works at all
    _resign(folder, lambda content: content.update(format=number))
    _refuses(folder, f"this version reads 1 to {FORMAT}.*Upgrade")


ARCHITECTURES = [
    *({"latent": bad} for bad in (3, -1, "many")),
    *({"encoder": bad} for bad in ([5], 3, [2**62])),
    *({"likelihoods": bad} for bad in (["gaussian"], ["cauchy"] * 3)),
    *({"variance": "none"}, {"fixed_variance": -1.0, "variance": "fixed"}),
]


@pytest.mark.parametrize(
    "change",
    [
        *(lambda c, part=part: c.pop(part) for part in ("architecture", "members", "schema")),
        *(lambda c, new=new: c["architecture"].update(new) for new in ARCHITECTURES),
        lambda c: c.update(provenance=3),
        lambda c: c.update(members=[]),
        lambda c: c.update(members=[{"seed": 0}]),
        lambda c: c["members"].pop(),
        lambda c: c["schema"].pop("numeric"),
        lambda c: c["schema"].update(numeric={}),
        lambda c: c["schema"].update(format=99),
        lambda c: c["schema"]["numeric"]["a"].update(clip=["x", "y"]),
        lambda c: c["schema"]["numeric"]["a"].update(clip=[1.0]),
        lambda c: c["schema"]["numeric"]["a"].pop("chain"),
        lambda c: c["schema"]["numeric"]["a"]["chain"]["steps"].append({"kind": "magic"}),
        lambda c: c["schema"].update(levels=None),
        lambda c: c["schema"]["schema"]["columns"].update(a={"kind": "category"}),
        lambda c: c["schema"].update(rows_fitted="many"),
    ],
)
def test_a_description_that_does_not_hold_together(folder, change):
    _resign(folder, change)
    _refuses(folder)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"log_scale": None}, "tensor log_scale should be .* found nothing"),
        (
            {"log_scale": torch.zeros(2, 1, 9)},
            r"tensor log_scale should be \(2, 1, 3\) .* found \(2, 1, 9\)",
        ),
        (
            {"log_scale": torch.zeros(2, 1, 3).double()},
            "tensor log_scale .*float32, found .*float64",
        ),
        ({"extra": torch.zeros(1)}, "unexpected tensor extra"),
    ],
)
def test_other_tensors(folder, change, message):
    tensors = safetensors.torch.load((folder / WEIGHTS).read_bytes()) | change
    tensors = {name: value for name, value in tensors.items() if value is not None}
    (folder / WEIGHTS).write_bytes(safetensors.torch.save(tensors))
    _resign(folder, lambda content: None)
    _refuses(folder, message)


@pytest.mark.parametrize("change", [{"latent": 10**9}, {"encoder": [10**7, 10**7]}])
def test_sizes_are_compared_before_memory_is_taken(folder, change):
    _resign(folder, lambda content: content["architecture"].update(change))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    _refuses(folder, "tensor .* should be")
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 100_000  # KiB


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_no_numbers(folder, value):
    tensors = safetensors.torch.load((folder / WEIGHTS).read_bytes())
    tensors["encoder.layers.0.weight"][0, 0, 0] = value
    (folder / WEIGHTS).write_bytes(safetensors.torch.save(tensors))
    _resign(folder, lambda content: None)
    _refuses(folder, "encoder.layers.0.weight holds values that are not finite")


def test_killed_at_any_write_there_is_the_old_model_or_the_new_one(folder, model, monkeypatch):
    class KilledError(BaseException):
        pass

    def stop_at(number):
        counted = itertools.count()

        def place(self, target):
            if next(counted) == number:
                raise KilledError
            return rename(self, target)

        return place

    rename, other = Path.replace, replace(model, provenance={"recipe": "other"})
    # The last rename is that of the weights, after the description is in place.
    for number, found in ((0, model), (1, model), (2, other)):
        save_model(folder, model)
        with monkeypatch.context() as patch:
            patch.setattr(Path, "replace", stop_at(number))
            with pytest.raises(KilledError):
                save_model(folder, other.only(0))
        for _ in range(2):
            assert load_model(folder).provenance == found.provenance
            settle_weights(folder)
        assert len(load_model(folder).members) == (1 if found is other else 2)
        assert sorted(entry.name for entry in folder.iterdir()) == list(FILES)
