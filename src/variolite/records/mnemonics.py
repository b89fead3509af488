"""Which curve of a logging company holds a meaning of the recipes, by its mnemonic."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import NamedTuple

from variolite.records.units import split_header


class Mnemonic(NamedTuple):
    """An entry of ``mnemonics.csv``, which says how certain it is."""

    mnemonic: str
    meaning: str
    company: str
    curve: str


@cache
def _entries(meaning: str) -> tuple[Mnemonic, ...]:
    """Return the curves of one meaning, the best first."""
    text = Path(__file__).with_name("mnemonics.csv").read_text(encoding="utf-8")
    lines = [line for line in text.splitlines() if not line.startswith("#")]
    return tuple(m for m in map(Mnemonic._make, csv.reader(lines)) if m.meaning == meaning)


def find_mnemonics(meaning: str, headers: Sequence[str]) -> dict[str, Mnemonic]:
    """Return the entry of every header that is known to hold ``meaning``, the best first."""
    names = {split_header(header)[0].casefold(): header for header in headers}
    known = ((names.get(entry.mnemonic.casefold()), entry) for entry in _entries(meaning))
    return {header: entry for header, entry in known if header is not None}
