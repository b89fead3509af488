"""From figures of generated frameworks to sentences: every finding, the most upstream first."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from pydantic import BaseModel, ConfigDict

from variolite.scoring.health import ACTIVE_NATS
from variolite.scoring.health import Finding as HealthFinding
from variolite.scoring.scorecard import Number

FEW_STATES = 20  # combinations of the training rows below which the data are the limit
MATCH = 0.03  # total variation beyond its floor up to which a marginal matches
TOO_FEW, TOO_MANY = 0.9, 1.1  # distinct over expected
_LONG_TAIL = 0.5  # share of combinations seen once
_COPIES = 0.5
_NAN = float("nan")


class Figure(BaseModel):
    """A number about generated rows: its interval, its number of draws, and what to compare with.

    ``n`` is the number of draws (of each seed) that it holds for, where it depends on that. The
    reference is what ``against`` names would give, with the range of 95 % where that is random.
    """

    model_config = ConfigDict(frozen=True, extra="ignore")

    quantity: str
    of: str
    n: int | None = None
    value: Number
    low: Number = _NAN
    high: Number = _NAN
    reference: Number = _NAN
    reference_low: Number = _NAN
    reference_high: Number = _NAN
    against: str = ""
    shown: bool = True


class Finding(HealthFinding):
    """A finding with a ``name`` that programs can look for."""

    name: str

    def __str__(self) -> str:
        sentences = [f"{text.rstrip('.')}." for text in (self.text, self.advice) if text]
        return f"{self.level}: {' '.join(sentences)}"


@dataclass(frozen=True)
class ModelFacts:
    """What is known of a latent-variable model, in nats per held-out row; None where unknown.

    ``kl`` is the divergence of the posterior from the prior per dimension, ``information`` the
    mutual information of rows and latents (`posterior_information`); ``latent_drop`` and
    ``condition_drop`` are what the log-likelihood loses when latents, or conditions, are permuted
    between rows.
    """

    kl: Sequence[float] | None = None
    information: float | None = None
    latent_drop: float | None = None
    condition_drop: float | None = None

    @property
    def active(self) -> int | None:
        """Number of active dimensions, by the rule of `scoring.health`."""
        return None if self.kl is None else int((np.asarray(self.kl) > ACTIVE_NATS).sum())

    def figures(self) -> Iterator[Figure]:
        """Yield what is known as figures."""
        size, total = (None, None) if self.kl is None else (len(self.kl), float(np.sum(self.kl)))
        for name, value, reference, against in (
            ("active dimensions", self.active, size, "dimensions"),
            ("KL", total, None, "nats per row"),
            ("mutual information", self.information, None, "nats per row"),
            ("loss with latents permuted", self.latent_drop, 0.0, "nats per row"),
            ("loss with conditions permuted", self.condition_drop, 0.0, "nats per row"),
        ):
            if value is not None:
                beside = _NAN if reference is None else reference
                yield Figure(
                    quantity=name, of="model", value=value, reference=beside, against=against
                )


_Found = Iterator[tuple[str, Literal["ok", "note", "warning"], str, str | None]]


class _Known:
    """Figures by name; one that is not there has the value NaN."""

    def __init__(self, figures: Sequence[Figure], combination: str) -> None:
        self.figures, self.combination = figures, combination

    def all(self, quantity: str) -> dict[str, Figure]:
        """All figures of a quantity, by what they are of; those of the most draws."""
        return {figure.of: figure for figure in self.figures if figure.quantity == quantity}

    def get(self, quantity: str, of: str | None = None) -> Figure:
        """One figure, of combinations by default."""
        of = of or self.combination
        return self.all(quantity).get(of) or Figure(quantity=quantity, of=of, value=_NAN)

    def excess(self, quantity: str = "marginal TVD") -> dict[str, float]:
        """Total variation beyond the floor, and beyond what training rows have, by column."""
        trained = self.all("marginal TVD, training rows")
        return {
            of: figure.value - max(figure.reference, trained[of].value)
            for of, figure in self.all(quantity).items()
        }

    @property
    def off(self) -> dict[str, float]:
        """Columns whose marginals differ. Sets are evaluated by members: new ones are no fault."""
        excess = self.excess()
        return {of: x for of, x in excess.items() if x > MATCH and f"{of}, members" not in excess}


def findings_of(
    figures: Sequence[Figure],
    states: Mapping[str, tuple[int, float]],
    model: ModelFacts | None,
    combination: str,
    left_out: Sequence[str] = (),
) -> tuple[Finding, ...]:
    """Evaluate the figures of a diagnosis and its ``states``, the most upstream cause first."""
    known = _Known(figures, combination)
    parts = [_data(known, states), _decoding(known, states), _model(model or ModelFacts())]
    found = [
        Finding(name=name, level=level, text=text, advice=advice)
        for part in (*parts, _variety(known), _distances(known), _copies(known, left_out))
        for name, level, text, advice in part
    ]
    if all(finding.level != "warning" for finding in found):
        ratio, tail = known.get("distinct over expected"), known.get("tail coverage")
        text = f"No collapse: distinct over expected {ratio.value:.2f} at {ratio.n or 0:,} draws"
        if np.isfinite(tail.value):
            text += f"; of the tail {tail.value:.0%} is shown at {tail.n or 0:,}"
        found.append(Finding(name="no_collapse", level="ok", text=text))
    return tuple(found)


def _data(known: _Known, states: Mapping[str, tuple[int, float]]) -> _Found:
    number, once = states[known.combination]
    constant = ", ".join(name for name, (count, _) in states.items() if count == 1)
    if number < FEW_STATES or constant:
        text = f"Degenerate data: the training rows have {number} combinations of "
        text += f"{known.combination}{f' ({constant} constant)' if constant else ''}"
        advice = "No model can show more. Read the columns from the structures, or add rows"
        yield "degenerate_data", "warning", text, advice
    elif once > _LONG_TAIL:
        text = f"Long tail: {once:.0%} of {number} combinations of {known.combination} "
        text += "are seen once among training rows"
        advice = "Look at tail coverage and at new held-out combinations, not at distinct rows"
        yield "long_tail", "note", text, advice


def _decoding(known: _Known, states: Mapping[str, tuple[int, float]]) -> _Found:
    sampled = known.excess()
    for of, excess in known.excess("argmax TVD").items():
        # Of a long tail argmax shows little by its nature, and so do held-out rows.
        if sampled[of] <= MATCH < excess - MATCH and states[of][1] <= _LONG_TAIL:
            drawn, argmax = known.get("marginal TVD", of), known.get("argmax TVD", of)
            text = f"Decoding artefact: drawn {of} match held-out rows (total variation "
            text += f"{drawn.value:.3f}, floor {drawn.reference:.3f}), by argmax they do not "
            text += f"({argmax.value:.3f})"
            advice = "Draw from the probabilities at temperature 1; argmax is for reconstruction"
            yield "decoding_artefact", "note", text, advice


def _model(model: ModelFacts) -> _Found:
    nothing = {
        "no dimension is active": model.active,
        "permuting the latents changes nothing": model.latent_drop,
        "rows and latents share no information": model.information,
    }
    unused = [what for what, value in nothing.items() if value is not None and value < ACTIVE_NATS]
    if unused:
        text = f"Posterior collapse: {' and '.join(unused)}"
        advice = "Lower beta, lengthen its warm-up, use free bits or a smaller decoder"
        yield "posterior_collapse", "warning", text, advice
    if model.condition_drop is not None and model.condition_drop < ACTIVE_NATS:
        text = "The condition is ignored: permuting it changes nothing"
        advice = "Check that the decoder is given it by name; train with it on more rows"
        yield "condition_ignored", "warning", text, advice


def _variety(known: _Known) -> _Found:
    ratio, kept = known.get("distinct over expected"), known.get("known over expected")
    what = f"{ratio.value:.2f} of the {known.combination} that {ratio.n or 0:,} real draws show"
    if ratio.value < min(TOO_FEW, ratio.reference_low):
        if known.off:
            advice = "See the findings above; if there are none, train longer or at a lower beta"
            yield "mode_collapse", "warning", f"Mode collapse: {what}", advice
        else:
            text = f"Combinations are lost: {what}, although every column matches"
            advice = "The decoder ties columns together more than the data do: lower its capacity"
            yield "combinations_lost", "warning", text, advice
    elif ratio.value > max(TOO_MANY, ratio.reference_high):
        novel = known.get("novel rows")
        text = f"More variety than the data: {what}, {kept.value:.2f} without novel ones"
        text += f"; {novel.value:.0%} of rows are novel, of held-out rows {novel.reference:.0%}"
        if kept.value > max(TOO_MANY, kept.reference_high):
            advice = "Known ones are too even as well: lower the temperature or the balance"
            yield "over_dispersed", "warning", text, advice
        else:
            yield "novel", "note", text, "Look at how many of them are found among held-out rows"


def _distances(known: _Known) -> _Found:
    if known.off:
        worst = sorted(known.off.items(), key=lambda pair: -pair[1])
        text = "Marginals differ from held-out rows by more than real rows do: "
        text += ", ".join(f"{of} (+{excess:.2f})" for of, excess in worst)
        yield "marginals_differ", "warning", text, None
        return  # where single columns are off, pairs are as well
    pairs = known.get("joint TVD", "pairs")
    real, apart = pairs.reference, known.get("joint TVD, independent marginals", "pairs").value
    # Half of what real rows gain over independent columns is not reached, by all resamples.
    if real < (1 - MATCH) * apart and min(pairs.value, pairs.low) > (real + apart) / 2:
        text = "Dependence is lost: pairs of columns are as far from held-out rows ("
        text += f"{pairs.value:.3f}) as independent marginals ({apart:.3f}); real rows are at "
        text += f"{real:.3f}"
        advice = "Columns are drawn as if unrelated: train longer, use more latent dimensions"
        yield "dependence_lost", "warning", text, advice


def _copies(known: _Known, left_out: Sequence[str]) -> _Found:
    copies = known.get("copies of training rows", "all columns").value
    if copies > _COPIES:
        text = f"{copies:.0%} of generated rows equal a training row in all columns"
        yield "copies", "note", text, "Nothing is generated that the table does not have"
    if left_out:
        text = f"Not compared, since one of the tables lacks it: {', '.join(left_out)}"
        yield "left_out", "note", text, None
