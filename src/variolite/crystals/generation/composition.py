"""Which elements and how many atoms: small autoregressive and smoothed models."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from variolite.crystals.generation.conditions import (
    DROPPED_EACH,
    DROPPED_TOGETHER,
    SPACE_GROUPS,
    Conditions,
    Floats,
    Integers,
    Vocabulary,
)
from variolite.crystals.generation.where import Where
from variolite.errors import DataError
from variolite.training.device import generator
from variolite.training.loop import minimise
from variolite.training.optimiser import cosine_by_epoch

# A composition of n atoms is drawn element by element: an element, its number of atoms, the next
# element, until no atom is left. Training takes the elements of every crystal in random orders (B.
# Uria et al., 2014), so that the model can continue from any elements that a user asks for.

WIDTH = 96
BATCH = 256
LEARNING_RATE = 3e-3
EPOCHS = 60

FEWEST_STEPS = 500  # least number of steps: with few crystals there are more epochs
VALIDATION = 0.1  # fraction of the compositions that choose the epoch
FEWEST_COMPOSITIONS = 500  # distinct compositions below which all are needed to train on


class CompositionNetwork(nn.Module):
    """Logits of the next element and of its number of atoms, in crystals of 1 to M atoms.

    With ``groups`` also those of the space group of a whole composition.
    """

    def __init__(self, elements: int, properties: int, largest: int, groups: bool) -> None:
        super().__init__()
        self.elements = elements
        self.largest = largest
        self.element = nn.Embedding(elements + 1, WIDTH)
        self.amount = nn.Embedding(largest + 1, WIDTH)
        self.left = nn.Embedding(largest + 1, WIDTH)
        self.whole = nn.Embedding(largest + 1, WIDTH)
        self.group = nn.Embedding(SPACE_GROUPS, WIDTH)
        self.conditions = nn.Linear(2 * properties, WIDTH) if properties else None
        self.each = nn.Sequential(nn.Linear(WIDTH, WIDTH), nn.GELU(), nn.Linear(WIDTH, WIDTH))
        self.state = nn.Sequential(
            nn.LayerNorm(WIDTH),
            nn.Linear(WIDTH, 2 * WIDTH),
            nn.GELU(),
            nn.Dropout(0.1),
            nn.Linear(2 * WIDTH, WIDTH),
        )
        self.to_element = nn.Linear(WIDTH, elements)
        self.to_amount = nn.Sequential(
            nn.Linear(2 * WIDTH, WIDTH), nn.GELU(), nn.Linear(WIDTH, largest + 1)
        )
        self.to_group = nn.Linear(WIDTH, SPACE_GROUPS) if groups else None
        for table in (self.element, self.amount, self.left, self.whole, self.group):
            nn.init.normal_(table.weight, std=0.3)

    def forward(self, chosen: Tensor, amounts: Tensor, sizes: Tensor, given: Tensor) -> Tensor:
        """Summarise what is chosen so far, shape (B, W).

        Tokens of the elements (0 for none) and their atoms, (B, K); atoms of the crystals, (B,);
        and the conditions of `_given`, (B, 1 + 2 P).
        """
        # A sum over elements (B, K, W) does not know their order; padding adds nothing.
        present = (chosen > 0).unsqueeze(-1)
        parts = self.each(self.element(chosen) + self.amount(amounts)) * present
        left = sizes - amounts.sum(1)
        state = parts.sum(1) + self.left(left) + self.whole(sizes) + self.group(given[:, 0].long())
        if self.conditions is not None:
            state = state + self.conditions(given[:, 1:])
        summary: Tensor = state + self.state(state)
        return summary

    def element_logits(self, summary: Tensor, chosen: Tensor) -> Tensor:
        """Logits of the next element, minus infinity for those chosen already, (B, E)."""
        logits: Tensor = self.to_element(summary)
        taken = torch.zeros(len(chosen), self.elements + 1, dtype=torch.bool, device=chosen.device)
        taken.scatter_(1, chosen, value=True)
        return logits.masked_fill(taken[:, 1:], -torch.inf)

    def amount_logits(self, summary: Tensor, token: Tensor, most: Tensor) -> Tensor:
        """Logits of 0 to M atoms of the next element; only 1 to ``most`` are possible, (B, M+1)."""
        logits: Tensor = self.to_amount(torch.cat([summary, self.element(token)], dim=1))
        numbers = torch.arange(self.largest + 1, device=token.device)
        possible = (numbers >= 1) & (numbers <= most.unsqueeze(1))
        return logits.masked_fill(~possible, -torch.inf)


class _Examples(NamedTuple):
    """Tokens of elements and their atoms, (B, K) padded with 0; sizes (B,); see `_given`."""

    tokens: Tensor
    amounts: Tensor
    sizes: Tensor
    given: Tensor

    def take(self, index: Tensor) -> _Examples:
        return _Examples(*(some[index] for some in self))

    @property
    def steps(self) -> int:
        return -(-len(self.sizes) // BATCH)

    def epoch(self, number: int) -> Iterator[_Examples]:
        del number
        for chosen in torch.split(torch.randperm(len(self.sizes)), BATCH):
            yield self.take(chosen)


def fit_compositions(
    conditions: Conditions, vocabulary: Vocabulary, *, seed: int = 0
) -> CompositionNetwork:
    """Fit the model to training crystals; the epoch that describes validation ones best is kept.

    Whole compositions are spared for validation, so that none is on both sides. Where
    there are few, none are and the last epoch is kept. Takes some seconds for ten thousand.
    """
    examples, keys = _examples(conditions, vocabulary)
    distinct = np.unique(keys)
    spared = int(VALIDATION * len(distinct)) if len(distinct) >= FEWEST_COMPOSITIONS else 0
    held = np.isin(keys, np.random.default_rng(seed).permutation(distinct)[:spared])
    training = examples.take(torch.from_numpy(np.flatnonzero(~held)))
    validation = examples.take(torch.from_numpy(np.flatnonzero(held)))
    epochs = max(EPOCHS, FEWEST_STEPS // training.steps)

    def validate() -> Tensor:
        random = generator(torch.device("cpu"), seed, 1)
        return _loss(network, validation, random, dropout=False)

    # Order, dropout and chosen steps all come from the one generator that is seeded here.
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = CompositionNetwork(
            len(vocabulary.elements),
            len(vocabulary.properties),
            vocabulary.largest,
            vocabulary.space_groups,
        )
        minimise(
            network,
            lambda batch: _loss(network, batch, torch.default_generator, dropout=True),
            training.epoch,
            validate,
            epochs=epochs,
            learning_rate=LEARNING_RATE,
            step_factor=cosine_by_epoch(training.steps, epochs),
            checks=None if spared else 0,
            part="prior",
        )
    return network.eval()


def _examples(conditions: Conditions, vocabulary: Vocabulary) -> tuple[_Examples, NDArray[np.str_]]:
    """Return training crystals, and a text for each that is the same for one composition, (B,)."""
    # Atoms of every element (B, 1 + E): crystal and token make one number that is counted.
    shape = len(conditions), len(vocabulary.elements) + 1
    owner = np.repeat(np.arange(len(conditions)), conditions.counts)
    cells = owner * shape[1] + vocabulary.tokens(conditions.species)
    table = np.bincount(cells, minlength=shape[0] * shape[1]).reshape(shape)
    # The K elements with the most atoms are all there are; where amounts are 0 there is none.
    most = int((table > 0).sum(axis=1).max())
    tokens = np.argsort(-table, axis=1, kind="stable")[:, :most]
    amounts = np.take_along_axis(table, tokens, axis=1)
    examples = _Examples(
        torch.from_numpy(np.where(amounts > 0, tokens, 0)),
        torch.from_numpy(amounts),
        torch.from_numpy(conditions.counts),
        _given(conditions, vocabulary),
    )
    return examples, np.array([row.tobytes().hex() for row in table.astype(np.uint8)])


def _given(conditions: Conditions, vocabulary: Vocabulary) -> Tensor:
    """Space group, values of properties, and 1 where they are known, shape (B, 1 + 2 P)."""
    values, known = vocabulary.standardised(conditions.properties)
    columns = [conditions.space_groups[:, None], values, known]
    return torch.from_numpy(np.concatenate(columns, axis=1).astype(np.float32))


def _loss(
    network: CompositionNetwork, batch: _Examples, random: torch.Generator, *, dropout: bool
) -> Tensor:
    """Nats per composition, estimated from one random step of a random order of elements, and of
    its space group, (1,)."""
    count, width = batch.tokens.shape
    present = batch.tokens > 0
    # A random order of the elements of each crystal, padding last.
    key = torch.rand(count, width, generator=random).masked_fill(~present, 2.0)
    order = key.argsort(dim=1)
    tokens, amounts = batch.tokens.gather(1, order), batch.amounts.gather(1, order)
    kinds = present.sum(1)
    # One step of the order is an estimate for all; it is multiplied by their number below.
    step = (torch.rand(count, generator=random) * kinds).long()
    before = torch.arange(width) < step.unsqueeze(1)
    given = batch.given
    if dropout:
        # The space group, then each property, whose value and mask go together.
        numbers = (given.shape[1] - 1) // 2
        chance = torch.rand(count, 2 + numbers, generator=random)
        kept = ((chance[:, 1:] >= DROPPED_EACH) & (chance[:, :1] >= DROPPED_TOGETHER)).float()
        given = given * torch.cat([kept, kept[:, 1:]], dim=1)
    chosen, taken = tokens * before, amounts * before
    summary = network(chosen, taken, batch.sizes, given)
    token = tokens.gather(1, step.unsqueeze(1))[:, 0]
    amount = amounts.gather(1, step.unsqueeze(1))[:, 0]
    nats = partial(functional.cross_entropy, reduction="none")
    element = nats(network.element_logits(summary, chosen), token - 1)
    left = batch.sizes - taken.sum(1)
    number = nats(network.amount_logits(summary, token, left), amount)
    total = ((element + number) * kinds).mean().view(1)
    if network.to_group is None:
        return total
    # The group of the whole composition, from all that is known but the group.
    hidden = torch.cat([torch.zeros_like(given[:, :1]), given[:, 1:]], dim=1)
    logits = network.to_group(network(batch.tokens, batch.amounts, batch.sizes, hidden))
    group = functional.cross_entropy(
        logits, batch.given[:, 0].long(), ignore_index=0, reduction="sum"
    )
    return total + group / count


@torch.no_grad()
def sample_compositions(
    network: CompositionNetwork,
    conditions: Conditions,
    vocabulary: Vocabulary,
    where: Where,
    *,
    guidance: float = 1.0,
    seed: int = 0,
) -> Integers:
    """Draw a composition for every crystal of known size, space group and properties.

    ``guidance`` weighs the last two as in `guided_velocity`. Elements that ``where`` asks for are
    drawn first; every size has to be at least their number. Returns atomic numbers, atom after
    atom, those of one element together, (N,).
    """
    random = generator(torch.device("cpu"), seed, 2)
    count = len(conditions)
    wanted = torch.zeros(count, network.elements + 1, dtype=torch.bool)
    wanted[:, torch.from_numpy(vocabulary.tokens(np.array(where.elements, dtype=np.int64)))] = True
    sizes = torch.from_numpy(conditions.counts)
    given = _given(conditions, vocabulary)
    guided = guidance != 1.0 and bool(given.any())
    amounts = torch.zeros(count, network.elements + 1, dtype=torch.int64)
    left = sizes.clone()
    while bool((left > 0).any()):
        # Only crystals with atoms left; what they have so far as tokens (R, K) padded with 0.
        rows = torch.nonzero(left > 0)[:, 0]
        present = amounts[rows] > 0
        width = max(int(present.sum(1).max()), 1)
        chosen = present.long().argsort(dim=1, descending=True, stable=True)[:, :width]
        taken = amounts[rows].gather(1, chosen)
        chosen = chosen * (taken > 0)
        seen = chosen, taken, sizes[rows]
        summary = network(*seen, given[rows])
        logits = network.element_logits(summary, chosen)
        if guided:
            free = network(*seen, torch.zeros_like(given[rows]))
            logits = _guided(network.element_logits(free, chosen), logits, guidance)
        # Elements that were asked for come first, and each keeps an atom for those after it.
        missing = wanted[rows] & ~present
        waiting = missing.sum(1)
        first = (waiting > 0).unsqueeze(1)
        logits = logits.masked_fill(first & ~missing[:, 1:], -torch.inf)
        token = _draw(logits, random) + 1
        most = left[rows] - (waiting - 1).clamp_min(0)
        # With every element taken but this one, or with no others allowed, nothing may be left.
        last = (present.sum(1) + 1 == network.elements) | ((waiting == 1) & (not where.others))
        logits = network.amount_logits(summary, token, most)
        if guided:
            logits = _guided(network.amount_logits(free, token, most), logits, guidance)
        number = _draw(logits, random)
        number = torch.where(last, left[rows], number)
        amounts[rows, token] = number
        left[rows] -= number
    table = torch.tensor([0, *vocabulary.elements])
    found = torch.repeat_interleave(table.repeat(count), amounts.reshape(-1))
    return np.asarray(found.numpy(), dtype=np.int64)


def _guided(free: Tensor, known: Tensor, guidance: float) -> Tensor:
    """Log-probabilities between and beyond two sets of logits; what is impossible stays so."""
    both = torch.lerp(free.log_softmax(1), known.log_softmax(1), guidance)
    return both.masked_fill(known.isneginf(), -torch.inf)


@torch.no_grad()
def sample_groups(
    network: CompositionNetwork,
    conditions: Conditions,
    vocabulary: Vocabulary,
    allowed: Mapping[int, Sequence[int]],
    *,
    seed: int = 0,
) -> Integers:
    """Draw a space group for every composition whose group is 0, (B,); unknown stays unknown.

    ``allowed`` are the groups to choose from by place, all where there is no entry.
    """
    if network.to_group is None:
        return conditions.space_groups
    examples, _ = _examples(conditions, vocabulary)
    logits = network.to_group(network(*examples))
    logits[:, 0] = -torch.inf
    for place, groups in allowed.items():
        others = torch.ones(SPACE_GROUPS, dtype=torch.bool)
        others[list(groups)] = False
        logits[place, others] = -torch.inf
    drawn = _draw(logits, generator(torch.device("cpu"), seed, 6)).numpy()
    return np.where(conditions.space_groups > 0, conditions.space_groups, drawn)


def _draw(logits: Tensor, random: torch.Generator) -> Tensor:
    return torch.multinomial(torch.softmax(logits, dim=1), 1, generator=random)[:, 0]


# How many atoms: a smoothed categorical distribution, given the space group and properties.

PSEUDO_CRYSTALS = 1.0  # crystals spread evenly over all numbers to the largest: none is impossible
BACK_OFF = 5.0  # weight of the whole set, in crystals, beside those of one group or number


@dataclass(frozen=True)
class AtomCounts:
    """Tables of the training crystals by their number of atoms, from 0 to the largest, M.

    Crystals by space group, 0 where unknown, (231, M + 1); and mean and deviation of every
    property among crystals of n atoms, (P, M + 1): a property y multiplies the probability of n
    by its normal density at y (Bayes' rule with independent properties).
    """

    groups: Floats
    means: Floats
    deviations: Floats

    def probabilities(self, where: Where, guidance: float = 1.0) -> Floats:
        """Return the probability of every number of atoms, (M + 1,).

        The likelihood of the space group and the properties is raised to the power ``guidance``.
        Raises `DataError` if no number holds a whole formula, or all the elements asked for.
        """
        largest = self.groups.shape[1] - 1
        numbers = np.arange(largest + 1)
        whole = self.groups.sum(axis=0) + PSEUDO_CRYSTALS / largest
        whole[0] = 0.0
        chances = free = whole / whole.sum()
        if where.space_group:
            chances = self.groups[where.space_group] + BACK_OFF * chances
            # Where there are no crystals at all, there are none of a group either.
            ratio = np.divide(chances, free, out=np.zeros_like(free), where=free > 0.0)
            chances = free * ratio**guidance
        given = np.flatnonzero(np.isfinite(where.properties))
        if len(given):
            # (P, M + 1): one normal density for each property and number of atoms.
            means, deviations = self.means[given], self.deviations[given]
            distance = (where.properties[given, None] - means) / deviations
            log_density = -(0.5 * distance**2 + np.log(deviations)).sum(axis=0)
            # Relative to the likeliest number, so that the exponentials do not all vanish.
            log_density -= log_density[chances > 0.0].max()
            chances = chances * np.exp(guidance * log_density)
        least = max(len(where.elements), 1)
        allowed = (numbers % where.size == 0) & (numbers >= least)
        chances = np.where(allowed, chances, 0.0)
        if not chances.sum() > 0.0:
            raise DataError(
                f"no crystal of at most {largest} atoms, the most among the training "
                f"crystals, has {max(where.size, least)} atoms or a multiple of them",
                where="number of atoms",
                hint="ask for a smaller formula",
            )
        return np.asarray(chances / chances.sum())


def fit_atom_counts(conditions: Conditions) -> AtomCounts:
    """Count the training crystals."""
    places = int(conditions.counts.max()) + 1
    groups = np.bincount(
        conditions.space_groups * places + conditions.counts, minlength=SPACE_GROUPS * places
    )
    means, deviations = np.empty((2, conditions.properties.shape[1], places))
    for place, values in enumerate(conditions.properties.T):
        here = np.isfinite(values)
        numbers, y = conditions.counts[here], values[here]
        # Numbers with few crystals lean on the whole set, as if it had sent five of its own.
        crystals = np.bincount(numbers, minlength=places) + BACK_OFF
        means[place] = (np.bincount(numbers, y, places) + BACK_OFF * y.mean()) / crystals
        squares = np.bincount(numbers, (y - means[place][numbers]) ** 2, places)
        deviations[place] = np.sqrt((squares + BACK_OFF * (y.var() or 1.0)) / crystals)
    return AtomCounts(groups.reshape(SPACE_GROUPS, places).astype(np.float64), means, deviations)
