"""Outlier rules as data: which values of which channel are taken for readings."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from variolite.corelogs.instruments import INSTRUMENTS
from variolite.errors import DataError, nearest

__all__ = ["OUTLIER_RULES", "OutlierRule", "outlier_rule"]


@dataclass(frozen=True)
class OutlierRule:
    """Ranges outside which a value is left out.

    Attributes
    ----------
    name
        Name of the rule in reports.
    ranges
        Channel name to (smallest, largest) value kept, both included.
    applies_to
        ``"readings"``: a value outside is left out before the mean is taken.
        ``"bins"``: the means are taken first and a bin outside is dropped, so
        that one wild reading can spoil a bin or hide in it.
    """

    name: str
    ranges: Mapping[str, tuple[float, float]]
    applies_to: Literal["readings", "bins"] = "readings"

    def limits(self, channel: str) -> tuple[float, float]:
        """Smallest and largest value kept of a channel; infinite where none is set."""
        return self.ranges.get(channel, (-math.inf, math.inf))


_COLOURS = dict.fromkeys(("red", "green", "blue"), (0.0, 255.0))

OUTLIER_RULES: Mapping[str, OutlierRule] = {
    rule.name: rule
    for rule in (
        OutlierRule(
            "plausible",
            {c.name: c.plausible for entry in INSTRUMENTS.values() for c in entry.channels},
        ),
        OutlierRule("none", {}),
        OutlierRule("lily_v1", {}),
        OutlierRule("lily_v2", {"bulk_density": (0.3, 4.0), **_COLOURS}, "bins"),
    )
}
"""Rules by name: the default, none at all, and those of the two published LILY tables."""


def outlier_rule(rule: str | OutlierRule) -> OutlierRule:
    """Return a rule by its name, or the rule itself.

    Raises
    ------
    DataError
        If the name is unknown or a range is empty.
    """
    if isinstance(rule, str):
        if rule not in OUTLIER_RULES:
            close = nearest(rule, OUTLIER_RULES)
            raise DataError(
                f"unknown outlier rule '{rule}'" + (f"; did you mean '{close}'" if close else ""),
                where="outliers",
                mend=f"choose one of {', '.join(OUTLIER_RULES)}",
            )
        return OUTLIER_RULES[rule]
    for channel, (low, high) in rule.ranges.items():
        if not low < high:
            raise DataError(
                f"the range of '{channel}' is empty: {low} to {high}",
                where=f"outlier rule '{rule.name}'",
                mend="give the smaller number first",
            )
    return rule
