"""The model file: bit-equal when whole, one clear error when not, no training row inside."""

import hashlib
import io
import json
import pickle
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import safetensors.torch
import torch
from hypothesis import given
from hypothesis import strategies as st

from variolite.errors import ModelFileError
from variolite.recipe import ModelSpec, TrainingSpec
from variolite.records import FittedSchema, Schema
from variolite.training import Member, TabularModel, fit_tabular, load_model, save_model
from variolite.training.tabular_model import FORMAT

FIXTURES = Path(__file__).parent / "fixtures"
DISTINCT = 4_000


@pytest.fixture(scope="module")
def rows() -> pl.DataFrame:
    """Values, groups and ids that no model could hold by chance."""
    source = np.random.default_rng(11)
    n = DISTINCT
    return pl.DataFrame(
        {
            "a": source.normal(size=n) * 1e3 + source.random(n),
            "b": source.lognormal(size=n),
            "c": source.normal(size=n),
            "rock": np.array(["clay", "ooze"])[source.integers(0, 2, n)],
            "hole": [f"hole-{i % 7}-secret" for i in range(n)],
            "sample": [f"sample-{i}-secret" for i in range(n)],
            "lithology": [f"label-{i % 5}-secret" for i in range(n)],
        }
    )


@pytest.fixture(scope="module")
def model(rows: pl.DataFrame) -> TabularModel:
    schema = Schema(
        columns={
            "a": {"clip": [0.001, 0.999]},
            "b": {"transform": ["log", "standardise"]},
            "c": {"transform": ["quantile"]},
            "rock": {"kind": "category"},
            "hole": {"role": "group"},
            "sample": {"role": "id"},
            "lithology": {"role": "label"},
        }
    )
    fitted = FittedSchema.fit(schema, rows)
    trained = fit_tabular(
        fitted,
        fitted.apply(rows),
        None,
        ModelSpec(latent=2, encoder=(4,), decoder=(4,)),
        TrainingSpec(beta={"kind": "constant"}, epochs=2, batch_size=500),
        (Member(0, 1.0, 2), Member(3, 0.5, 1)),
        device="cpu",
    )
    return replace(trained.model, provenance={"recipe": "corelogs/v1", "seconds": 0.25})


@pytest.fixture
def folder(model: TabularModel, tmp_path: Path) -> Path:
    save_model(tmp_path / "model", model)
    return tmp_path / "model"


def _refuses(folder: Path, said: str = ".") -> str:
    with pytest.raises(ModelFileError, match=said) as caught:
        load_model(folder)
    text = str(caught.value)
    assert "\n" not in text
    assert str(folder) in text, "the error does not say where"
    return text


# Round trip.


def test_a_model_comes_back_bit_equal(
    model: TabularModel, folder: Path, rows: pl.DataFrame
) -> None:
    again = load_model(folder)
    assert again.members == model.members
    assert again.provenance == model.provenance
    assert again.module.architecture == model.module.architecture
    assert again.schema.to_dict() == model.schema.to_dict()
    mine, theirs = model.module.state_dict(), again.module.state_dict()
    assert mine.keys() == theirs.keys()
    for name, value in mine.items():
        assert torch.equal(value, theirs[name])
    records, fresh = model.schema.apply(rows[:50]), again.schema.apply(rows[:50])
    assert np.array_equal(model.encode(records), again.encode(fresh))
    assert np.array_equal(model.reconstruct(records), again.reconstruct(fresh))
    assert np.array_equal(model.evidence(records), again.evidence(fresh))
    assert again.sample(5, seed=1)["a"].tolist() == model.sample(5, seed=1)["a"].tolist()


def test_saving_again_gives_the_same_bytes(folder: Path, tmp_path: Path) -> None:
    save_model(tmp_path / "again", load_model(folder))
    for name in ("model.json", "weights.safetensors"):
        assert (tmp_path / "again" / name).read_bytes() == (folder / name).read_bytes()


def test_the_folder_holds_two_files_and_no_pickle(folder: Path) -> None:
    assert sorted(entry.name for entry in folder.iterdir()) == ["model.json", "weights.safetensors"]
    json.loads((folder / "model.json").read_text(encoding="utf-8"))
    safetensors.torch.load((folder / "weights.safetensors").read_bytes())


def test_a_member_saved_alone_loads_alone(model: TabularModel, tmp_path: Path) -> None:
    save_model(tmp_path / "one", model.only(1))
    assert load_model(tmp_path / "one").members == (Member(3, 0.5, 1),)


def test_no_training_row_is_inside(folder: Path, rows: pl.DataFrame) -> None:
    content = b"".join(entry.read_bytes() for entry in sorted(folder.iterdir()))
    assert b"secret" not in content
    for name in ("a", "b", "c"):
        for value in rows[name].to_list()[:: DISTINCT // 500]:
            assert repr(value).encode() not in content
            assert np.float64(value).tobytes() not in content
            assert np.float32(value).tobytes() not in content


@pytest.mark.parametrize("number", range(1, FORMAT + 1))
def test_every_past_format_stays_readable(number: int) -> None:
    folder = FIXTURES / f"model_format_{number}"
    model = load_model(folder)
    said = json.loads((folder / "said.json").read_text(encoding="utf-8"))
    records = model.schema.apply(pl.read_csv(folder / "table.csv"))
    for name, found in (
        ("encode", model.encode(records)),
        ("reconstruct", model.reconstruct(records)),
        ("evidence", model.evidence(records, samples=3)),
    ):
        np.testing.assert_allclose(found, said[name], rtol=1e-4, atol=1e-4)


# Files that are missing, foreign or altered.


def test_missing_files(folder: Path, tmp_path: Path) -> None:
    _refuses(tmp_path / "nowhere", "there is no model here")
    (folder / "weights.safetensors").unlink()
    _refuses(folder, "the weights are missing")


def test_folders_in_place_of_files(folder: Path) -> None:
    for name in ("weights.safetensors", "model.json"):
        (folder / name).unlink()
        (folder / name).mkdir()
        _refuses(folder)


def _zip() -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("model.json", "{}")
    return buffer.getvalue()


class _Trap:
    """Unpickling it leaves a trace."""

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        return Path.touch, (Path("unpickled"),)


FOREIGN = {
    "empty": b"",
    "random": np.random.default_rng(0).bytes(500),
    "pickle": pickle.dumps(_Trap()),
    "zip": _zip(),
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
@pytest.mark.parametrize("file", ["model.json", "weights.safetensors"])
def test_foreign_files(
    folder: Path, name: str, file: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    (folder / file).write_bytes(FOREIGN[name])
    _refuses(folder)
    assert not Path("unpickled").exists()


@pytest.mark.parametrize("file", ["model.json", "weights.safetensors"])
@given(position=st.floats(0.0, 1.0, exclude_max=True), flip=st.integers(1, 255))
def test_one_altered_byte(folder: Path, file: str, position: float, flip: int) -> None:
    content = (folder / file).read_bytes()
    altered = bytearray(content)
    altered[int(position * len(content))] ^= flip
    (folder / file).write_bytes(bytes(altered))
    try:
        if file == "model.json" and _same_json(bytes(altered), content):
            load_model(folder)  # white space between the words of JSON may change
        else:
            _refuses(folder)
    finally:
        (folder / file).write_bytes(content)


def _same_json(first: bytes, second: bytes) -> bool:
    try:
        return bool(json.loads(first) == json.loads(second))
    except ValueError:
        return False


@pytest.mark.parametrize("file", ["model.json", "weights.safetensors"])
@given(kept=st.floats(0.0, 0.999))
def test_truncated_files(folder: Path, file: str, kept: float) -> None:
    content = (folder / file).read_bytes()
    (folder / file).write_bytes(content[: int(kept * (len(content) - 2))])
    try:
        _refuses(folder)
    finally:
        (folder / file).write_bytes(content)


def test_weights_of_another_model(folder: Path, model: TabularModel, tmp_path: Path) -> None:
    save_model(tmp_path / "other", model.only(0))
    other = (tmp_path / "other" / "weights.safetensors").read_bytes()
    (folder / "weights.safetensors").write_bytes(other)
    _refuses(folder, "of another model")


# Files altered by someone who also signs them again.


def _resign(folder: Path, change: Callable[[dict[str, Any]], object]) -> None:
    path = folder / "model.json"
    content = json.loads(path.read_text(encoding="utf-8"))
    change(content)
    content["weights_sha256"] = hashlib.sha256(
        (folder / "weights.safetensors").read_bytes()
    ).hexdigest()
    bare = {key: value for key, value in content.items() if key != "sha256"}
    text = json.dumps(bare, sort_keys=True, separators=(",", ":"))
    content["sha256"] = hashlib.sha256(text.encode()).hexdigest()
    path.write_text(json.dumps(content), encoding="utf-8")


def test_signing_again_works_at_all(folder: Path) -> None:
    _resign(folder, lambda content: None)
    load_model(folder)


@pytest.mark.parametrize("number", [FORMAT + 1, 0, -1, 1.0, "1", None, True, [1], 10**30])
def test_another_format(folder: Path, number: object) -> None:
    _resign(folder, lambda content: content.update(format=number))
    _refuses(folder, f"this version reads 1 to {FORMAT}.*upgrade")


@pytest.mark.parametrize(
    "change",
    [
        lambda c: c.pop("architecture"),
        lambda c: c.pop("members"),
        lambda c: c.pop("schema"),
        lambda c: c.update(provenance=3),
        lambda c: c.update(members=[]),
        lambda c: c.update(members=[{"seed": 0}]),
        lambda c: c["members"].pop(),
        lambda c: c["architecture"].update(latent=3),
        lambda c: c["architecture"].update(latent=-1),
        lambda c: c["architecture"].update(latent="many"),
        lambda c: c["architecture"].update(encoder=[5]),
        lambda c: c["architecture"].update(encoder=3),
        lambda c: c["architecture"].update(encoder=[2**62]),
        lambda c: c["architecture"].update(likelihoods=["gaussian"]),
        lambda c: c["architecture"].update(likelihoods=["cauchy"] * 3),
        lambda c: c["architecture"].update(variance="none"),
        lambda c: c["architecture"].update(fixed_variance=-1.0, variance="fixed"),
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
def test_a_description_that_does_not_hold_together(
    folder: Path, change: Callable[[dict[str, Any]], object]
) -> None:
    _resign(folder, change)
    _refuses(folder)


def _rewrite_weights(folder: Path, change: Callable[[dict[str, torch.Tensor]], object]) -> None:
    path = folder / "weights.safetensors"
    tensors = safetensors.torch.load(path.read_bytes())
    change(tensors)
    path.write_bytes(safetensors.torch.save(tensors))
    _resign(folder, lambda content: None)


def test_a_missing_tensor(folder: Path) -> None:
    _rewrite_weights(folder, lambda t: t.pop("log_scale"))
    _refuses(folder, "tensor log_scale should be .* found nothing")


def test_a_tensor_of_another_shape(folder: Path) -> None:
    _rewrite_weights(folder, lambda t: t.update(log_scale=torch.zeros(2, 1, 9)))
    _refuses(folder, r"tensor log_scale should be \(2, 1, 3\) .* found \(2, 1, 9\)")


def test_a_tensor_of_another_type(folder: Path) -> None:
    _rewrite_weights(folder, lambda t: t.update(log_scale=t["log_scale"].double()))
    _refuses(folder, "tensor log_scale .*float32, found .*float64")


def test_a_tensor_too_many(folder: Path) -> None:
    _rewrite_weights(folder, lambda t: t.update(extra=torch.zeros(1)))
    _refuses(folder, "unexpected tensor extra")


def test_weights_that_are_no_safetensors(folder: Path) -> None:
    for name in ("empty", "random", "pickle", "zip"):
        (folder / "weights.safetensors").write_bytes(FOREIGN[name])
        _resign(folder, lambda content: None)
        _refuses(folder, "the weights are damaged")
