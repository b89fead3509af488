"""The store: bit for bit what was written, or a clear word on what is wrong with the file."""

import json
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import safetensors.numpy
from crystal_cases import assert_same, crystal_sets, crystals_of
from hypothesis import given

from variolite.crystals.files.store import KIND, fingerprint, open_store, write_store
from variolite.crystals.files.textbook import textbook_crystals
from variolite.errors import DataError


@given(crystal_sets())
def test_a_round_trip_is_bit_identical(tmp_path, crystals):
    path = tmp_path / "set.crystals"
    write_store(path, crystals)
    found = open_store(path)
    assert_same(found, crystals)
    for name in ("species", "coordinates", "lattices", "offsets"):
        assert getattr(found, name).dtype == getattr(crystals, name).dtype
    assert fingerprint(found) == fingerprint(crystals)
    content = path.read_bytes()
    write_store(path, found)
    assert path.read_bytes() == content


def test_a_store_is_a_safetensors_file_that_opening_never_changes(tmp_path):
    crystals, path = textbook_crystals(), tmp_path / "a.crystals"
    write_store(path, crystals)
    arrays = safetensors.numpy.load_file(path)
    np.testing.assert_array_equal(arrays["coordinates"], crystals.coordinates)
    np.testing.assert_array_equal(arrays["property.number.space_group"][:3], [225.0] * 3)
    open_store(path).coordinates[0] = 7.0
    assert_same(open_store(path), crystals)


def test_stores_of_earlier_formats_are_read_and_only_structures_count_in_fingerprints():
    crystals = textbook_crystals().take(slice(15, 25))
    properties = {"z": crystals.names[::-1], **crystals.properties}
    for number in (1, 2):
        path = Path(__file__).parent / "fixtures" / f"format_{number}.crystals"
        assert_same(open_store(path), replace(crystals, properties=properties))
    # The fingerprint is of the structures alone.
    renamed = replace(crystals, names=crystals.names[::-1], properties={})
    assert fingerprint(renamed) == fingerprint(crystals)
    moved = replace(crystals, coordinates=crystals.coordinates + 1e-12)
    assert fingerprint(moved) != fingerprint(crystals)
    assert fingerprint(crystals.take(slice(0, 5))) != fingerprint(crystals)


def with_header(change):
    """The function from a store to one whose header and description are changed."""

    def spoil(content):
        start = 8 + int.from_bytes(content[:8], "little")
        header = json.loads(content[8:start])
        described = json.loads(header["__metadata__"].pop(KIND))
        key = change(header, described) or KIND
        header["__metadata__"][key] = json.dumps(described)
        text = json.dumps(header).encode()
        return len(text).to_bytes(8, "little") + text + content[start:]

    return spoil


def swapped(header, _):
    header["names.offsets"], header["offsets"] = header["offsets"], header["names.offsets"]


FOREIGN, LOOSE = "not a store of crystals", "does not hold together"
BROKEN = {
    "empty": (lambda c: b"", "the file is empty"),
    "short": (lambda c: c[:5], "not a store of crystals, or it is truncated"),
    "header cut": (lambda c: c[:60], "not a store of crystals, or it is truncated"),
    "data cut": (lambda c: c[:-1], "truncated, or has grown"),
    "grown": (lambda c: c + b"x", "truncated, or has grown"),
    "one bit": (lambda c: c[:-9] + bytes([c[-9] ^ 1]) + c[-8:], "altered or damaged"),
    "text": (lambda c: b"data_x\n_cell_length_a 3\n" * 9, FOREIGN),
    "zeros": (lambda c: bytes(200), FOREIGN),
    "newer": (with_header(lambda h, d: d.update(format=4)), "has format 4, this version reads 1"),
    "older": (with_header(lambda h, d: d.update(format=2)), "altered or damaged"),
    "order": (with_header(lambda h, d: d["properties"].reverse()), "altered or damaged"),
    "numbers": (with_header(lambda h, d: h["offsets"].update(dtype="F64")), "altered or damaged"),
    "kind": (with_header(lambda h, d: "other"), FOREIGN),
    "no format": (with_header(lambda h, d: d.clear()), FOREIGN),
    "no species": (with_header(lambda h, d: h.pop("species") and None), f"{LOOSE}|has grown"),
    "dtype": (with_header(lambda h, d: h["species"].update(dtype="I8")), LOOSE),
    "shape": (with_header(lambda h, d: h["species"].update(shape=[3])), LOOSE),
    "names": (with_header(swapped), "altered or damaged"),
}


@pytest.mark.parametrize("kind", BROKEN)
def test_a_broken_store_says_what_is_wrong(tmp_path, kind):
    path, crystals = tmp_path / "a.crystals", textbook_crystals()
    properties = {**crystals.properties, "t": crystals.names}
    write_store(path, replace(crystals, properties=properties))
    make, message = BROKEN[kind]
    path.write_bytes(make(path.read_bytes()))
    with pytest.raises(DataError, match=message) as error:
        open_store(path)
    assert error.value.where == str(path)


def test_places_that_cannot_be_read_or_written(tmp_path):
    with pytest.raises(DataError, match="no such file"):
        open_store(tmp_path / "none.crystals")
    with pytest.raises(DataError, match="cannot be read"):
        open_store(tmp_path)
    (tmp_path / "no").touch()
    with pytest.raises(DataError, match="is no folder"):
        write_store(tmp_path / "no" / "a.crystals", textbook_crystals())
    odd = replace(textbook_crystals(), properties={"x": np.full(78, None, dtype=object)})
    with pytest.raises(DataError, match="neither numbers nor text"):
        write_store(tmp_path / "a.crystals", odd)
    assert list(tmp_path.iterdir()) == [tmp_path / "no"]


def test_a_large_set_opens_fast(tmp_path):
    """27,000 structures, as many as MP-20 trains on, in less than a second of CPU."""
    crystals = crystals_of(0, count=300, atoms=20).take(np.tile(np.arange(300), 90))
    write_store(tmp_path / "a.crystals", replace(crystals, properties={"t": crystals.names}))
    began = time.process_time()
    assert len(open_store(tmp_path / "a.crystals")) == 27_000
    assert time.process_time() - began < 1.0
