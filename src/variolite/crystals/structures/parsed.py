"""What parsers hand on: drafts of structures, and flat arrays of many of them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from variolite.crystals.structures.cells import lattices_from_parameters
from variolite.crystals.structures.rejection import RejectedError

__all__ = ["Draft", "Parsed", "Parser", "Reject", "gather"]

Floats = NDArray[np.float64]


@dataclass(slots=True)
class Draft:
    """One structure as it was read, not yet checked.

    Attributes
    ----------
    species
        Atomic numbers.
    coordinates
        Fractional coordinates: three sequences of numbers, or an array of shape (n, 3).
    cell
        Six cell parameters, or lattice vectors of shape (3, 3).
    name
        Its id where the text has one.
    properties
        Further values that the text has.
    notes
        What was changed on reading.
    """

    species: Sequence[int]
    coordinates: tuple[Sequence[float], Sequence[float], Sequence[float]] | Floats
    cell: Sequence[float] | Floats
    name: str = ""
    properties: Mapping[str, Any] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


Parser = Callable[[str], Iterable[Draft | RejectedError]]
"""Returns the structures of one text; may raise :class:`RejectedError` for all of it."""


@dataclass(frozen=True)
class Reject:
    """A structure that was turned away.

    Attributes
    ----------
    source
        Place of the text among those that were parsed.
    frame
        Place of the structure in a text with several, otherwise -1.
    name
        Its id where the text has one.
    code, reason
        Key of :data:`~variolite.crystals.structures.rejection.REASONS`, and a sentence.
    """

    source: int
    frame: int
    name: str
    code: str
    reason: str


@dataclass(frozen=True)
class Parsed:
    """Many structures in flat arrays, not yet checked, and those that cannot be parsed.

    Attributes
    ----------
    species, coordinates, lattices, counts
        As in :class:`~variolite.crystals.structures.Crystals`; shapes (N,), (N, 3),
        (B, 3, 3) and (B,).
    source
        Place of the text that each structure comes from, shape (B,).
    frame
        Place of each structure in a text with several, otherwise -1, shape (B,).
    names
        Ids, "" where the text has none.
    properties
        Further values by structure; empty when no text has any.
    rejects
        What was turned away.
    notes
        How many structures each change on reading concerned.
    """

    species: NDArray[np.uint8]
    coordinates: Floats
    lattices: Floats
    counts: NDArray[np.int64]
    source: NDArray[np.int64]
    frame: NDArray[np.int64]
    names: tuple[str, ...]
    properties: tuple[Mapping[str, Any], ...]
    rejects: tuple[Reject, ...]
    notes: Mapping[str, int]


def gather(texts: Iterable[str], parse: Parser) -> Parsed:
    """Parse texts one after the other into flat arrays.

    Parameters
    ----------
    texts
        The texts.
    parse
        The parser of their format.
    """
    species: list[int] = []
    x: list[float] = []
    y: list[float] = []
    z: list[float] = []
    cells: list[Sequence[float] | Floats] = []
    vectors: dict[int, Floats] = {}
    counts: list[int] = []
    source: list[int] = []
    frame: list[int] = []
    names: list[str] = []
    properties: list[Mapping[str, Any]] = []
    rejects: list[Reject] = []
    notes: dict[str, int] = {}
    for place, text in enumerate(texts):
        found = _attempt(parse, text)
        several = len(found) > 1
        for number, draft in enumerate(found):
            here = number if several else -1
            if isinstance(draft, RejectedError):
                rejects.append(Reject(place, here, draft.name, draft.code, draft.reason))
                continue
            coordinates = draft.coordinates
            if isinstance(coordinates, np.ndarray):
                columns = coordinates.reshape(-1, 3).T.tolist()
                coordinates = (columns[0], columns[1], columns[2])
            species += draft.species
            x += coordinates[0]
            y += coordinates[1]
            z += coordinates[2]
            if len(draft.cell) == 3:
                vectors[len(cells)] = np.asarray(draft.cell, dtype=np.float64)
                cells.append((1.0, 1.0, 1.0, 90.0, 90.0, 90.0))
            else:
                cells.append(draft.cell)
            counts.append(len(draft.species))
            source.append(place)
            frame.append(here)
            names.append(draft.name)
            properties.append(draft.properties)
            for note in draft.notes:
                notes[note] = notes.get(note, 0) + 1
    with np.errstate(all="ignore"):
        lattices = lattices_from_parameters(np.array(cells, dtype=np.float64).reshape(-1, 6))
    if vectors:
        lattices[list(vectors)] = np.stack(list(vectors.values()))
    return Parsed(
        species=np.array(species, dtype=np.uint8),
        coordinates=np.array([x, y, z], dtype=np.float64).T.reshape(-1, 3).copy(),
        lattices=lattices,
        counts=np.array(counts, dtype=np.int64),
        source=np.array(source, dtype=np.int64),
        frame=np.array(frame, dtype=np.int64),
        names=tuple(names),
        properties=tuple(properties) if any(properties) else (),
        rejects=tuple(rejects),
        notes=notes,
    )


def _attempt(parse: Parser, text: str) -> Sequence[Draft | RejectedError]:
    if "\0" in text or "\ufffd" in text:
        return (RejectedError("not_text"),)
    try:
        # Numbers that overflow are met by the checks that follow.
        with np.errstate(all="ignore"):
            found = parse(text)
            return found if isinstance(found, tuple) else tuple(found)
    except RejectedError as error:
        return (error,)
    # What no parser foresaw must not cost the other structures.
    except (ArithmeticError, LookupError, RuntimeError, TypeError, ValueError) as error:
        return (RejectedError("unreadable", f"{type(error).__name__}: {error}"[:160]),)
