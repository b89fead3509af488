"""What the figures of the ablations say, in sentences made from them, and what they cannot say."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from benchmarks.crystals.paired import LEVEL, Difference, mean_of, median_of

SCORES = (
    ("strict_unreduced", "strict match", mean_of, 100.0),
    ("periodic", "periodic error, Å", median_of, 1.0),
    ("types", "types right", mean_of, 100.0),
)
"""Name in the files, name in the table, statistic over crystals, factor."""

STRICT = SCORES[0][0]

ENOUGH_SEEDS = 3

TOO_FEW_MATCHES = 0.02
"""Strict match of the full model below which variants cannot be distinguished."""


@dataclass(frozen=True)
class Compared:
    """A variant beside the full model.

    Attributes
    ----------
    title
        Of the variant.
    differences
        Variant minus full model by score.
    by_seed
        The same of the strict match for every seed that both have, as shares.
    gaps
        Strict match of the variant minus that of the full model at each share of the budget,
        means over seeds.
    impossible
        Cells that the variant decoded and that are none, as a share of what it was given.
    steps
        Taken in the budget, over those of the full model.
    """

    title: str
    differences: dict[str, Difference]
    by_seed: tuple[float, ...]
    gaps: tuple[float, ...]
    impossible: float
    steps: float


@dataclass(frozen=True)
class Section:
    """One set at one budget.

    Attributes
    ----------
    title
        Of the set, with the budget where there are several.
    full
        Strict match of the full model, one number for each seed.
    epochs
        That the full model saw.
    shares
        Of the budget, for `Compared.gaps`.
    variants
        All but the full model.
    """

    title: str
    full: tuple[float, ...]
    epochs: float
    shares: tuple[float, ...]
    variants: tuple[Compared, ...]


def verdict_of(found: Difference, score: str) -> str:
    """Say whether a variant is better or worse than the full model, if that can be said."""
    if not found.settled:
        return "no clear difference"
    higher = next(statistic for name, _, statistic, _ in SCORES if name == score) is mean_of
    return "better" if (found.mean > 0.0) == higher else "worse"


def reading(sections: Sequence[Section]) -> list[str]:
    """Paragraphs of Markdown."""
    lines = [f"**{section.title}.** {_said(section)}" for section in sections]
    if len(sections) > 1:
        lines.append(_everywhere(sections))
    lines.append("What this cannot say:")
    limits = [f"- {sentence}" for sentence in _limits(sections)]
    return ["\n\n".join(lines), "", *limits]


def _said(section: Section) -> str:
    sentences = []
    for score, title, _, factor in SCORES:
        named = title.removesuffix(", Å")
        groups = []
        for verdict in ("worse", "better", "no clear difference"):
            ones = [
                v for v in section.variants if verdict_of(v.differences[score], score) == verdict
            ]
            ones.sort(key=lambda v: -abs(v.differences[score].mean))
            if ones:
                shown = (f"{v.title} ({_signed(v.differences[score].mean, factor)})" for v in ones)
                groups.append(f"{verdict}: {', '.join(shown)}")
        sentences.append(f"{named.capitalize()}, {'; '.join(groups)}.")
    broken = [v for v in section.variants if v.impossible]
    if broken:
        shares = ", ".join(f"{100 * v.impossible:.2f} % of {v.title}" for v in broken)
        sentences.append(f"Decoded cells that are impossible: {shares}; of the others none.")
    else:
        sentences.append("No variant decoded an impossible cell.")
    return " ".join(sentences)


def _signed(value: float, factor: float) -> str:
    return f"{factor * value:+.1f} points" if factor == 100.0 else f"{value:+.3f} Å"


def _everywhere(sections: Sequence[Section]) -> str:
    """Which verdicts hold in every section, on the strict match and on the periodic error."""
    titles = [v.title for v in sections[0].variants]
    sentences = []
    for score, title, _, _ in SCORES[:2]:
        verdicts = {
            name: {
                verdict_of(v.differences[score], score)
                for section in sections
                for v in section.variants
                if v.title == name
            }
            for name in titles
        }
        same = [
            f"{verdict} for {_listed(ones)}"
            for verdict in ("worse", "better", "no clear difference")
            if (ones := [name for name in titles if verdicts[name] == {verdict}])
        ]
        differ = [name for name in titles if len(verdicts[name]) > 1]
        named = title.removesuffix(", Å").capitalize()
        text = f"{named}: {'; '.join(same) or 'no verdict is the same'}"
        sentences.append(text + (f"; it differs for {_listed(differ)}" if differ else ""))
    return f"**On all {len(sections)} alike.** " + ". ".join(sentences) + "."


def _limits(sections: Sequence[Section]) -> Iterable[str]:
    seeds = min(len(section.full) for section in sections)
    count = sum(len(section.variants) for section in sections) * len(SCORES)
    settled = [
        (section, v)
        for section in sections
        for v in section.variants
        if v.differences[STRICT].settled
    ]
    if seeds < ENOUGH_SEEDS:
        yield (
            f"There {'is one seed' if seeds == 1 else f'are {seeds} seeds'}: the verdicts are "
            "about these trained networks, not about the parts."
        )
    else:
        yield (
            f"There are {seeds} seeds: an interval knows no others, and is narrow if they happen "
            "to lie close together."
        )
    for section in sections:
        low, high = 100 * min(section.full), 100 * max(section.full)
        if len(section.full) > 1:
            yield (
                f"The strict match of the full model is {low:.1f} to {high:.1f} % over its seeds "
                f"on {section.title}."
            )
        if np.mean(section.full) < TOO_FEW_MATCHES:
            yield (
                f"On {section.title} even the full model hardly matches after this budget: there "
                "the strict match cannot show what a part is worth."
            )
    unsure = [
        f"{v.title} on {section.title}"
        for section, v in settled
        if len(v.by_seed) > 1 and min(v.by_seed) < 0.0 < max(v.by_seed)
    ]
    if seeds > 1 and settled:
        yield (
            f"Of the {len(settled)} verdicts on the strict match, the seeds disagree about the "
            f"sign of {len(unsure)}" + (f": {_listed(unsure)}." if unsure else ".")
        )
    yield (
        f"Of {count} intervals about {(1.0 - LEVEL) * count:.1f} would exclude 0 if nothing made "
        "a difference."
    )
    epochs = _listed([f"{section.epochs:.0f} on {section.title}" for section in sections])
    yield (
        f"The full model saw these epochs: {epochs}. A short budget shows what helps to learn "
        "quickly, not what remains after a long training."
    )
    yield from _trends(settled)
    taken = [
        (v.steps, f"{v.title} on {section.title}") for section in sections for v in section.variants
    ]
    if len(taken) > 1:
        (least, fewest), (greatest, most) = min(taken), max(taken)
        yield (
            f"In the same processor time {fewest} took {least:.2f} times the steps of the full "
            f"model and {most} {greatest:.2f} times: some of that is the change, some the work "
            "that ran beside, and it is part of every difference."
        )
    yield (
        "The learning rate was chosen for the full model; a variant may prefer another, and "
        "would then look worse than it is."
    )


def _trends(settled: Iterable[tuple[Section, Compared]]) -> Iterable[str]:
    """How the gap moved in the last half of the budget; strict matches, means over seeds."""
    grew: list[str] = []
    shrank: list[str] = []
    for section, v in settled:
        if len(v.gaps) < 2 or not np.isfinite(v.gaps).all():
            continue
        before, after = v.gaps[-2], v.gaps[-1]
        text = f"{v.title} on {section.title} ({100 * before:+.1f} to {100 * after:+.1f} points)"
        (grew if abs(after) > abs(before) else shrank).append(text)
    found_so = [
        f"{word} for {_listed(ones)}" for word, ones in (("grew", grew), ("shrank", shrank)) if ones
    ]
    if found_so:
        yield (
            "From half of the budget to the whole, the gap in strict match "
            f"{'; it '.join(found_so)} (at half, the rate has not yet fallen)."
        )


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names[:-1]) + " and " + names[-1] if len(names) > 1 else "".join(names)
