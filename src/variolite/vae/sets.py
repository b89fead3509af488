"""Sets of categories in the tabular VAE: linkers of a framework, minerals of a rock.

The likelihood draws the members one after another, the more frequent first, and then a stop
token, so that every set has exactly one order and its probability is a plain product (the
autoregressive set of O. Vinyals et al., 2016). Vectors of members come from given features too,
such as fingerprints of molecules: members that are alike share what was learned of them, and one
that no training row holds has a place.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn

SIZE = 16
"""Width of the vector of a member."""


@dataclass(frozen=True)
class SetShape:
    """Members that there are, the most in one set, and given features of each (0 for none)."""

    levels: int
    most: int
    features: int = 0


class SetColumn(nn.Module):
    """One column of sets for M models: vectors of its members, and how a set is decoded.

    ``features``, (1, levels, F), are filled in by whoever makes the model. Every parameter has a
    leading members axis, as in `TabularModule`.
    """

    features: Tensor

    def __init__(self, shape: SetShape, generator: torch.Generator) -> None:
        super().__init__()
        self.shape = shape

        def normal(scale: float, *size: int) -> nn.Parameter:
            return nn.Parameter(torch.empty(1, *size).normal_(0.0, scale, generator=generator))

        # What features do not say of a member starts small where there are any.
        own = 0.1 if shape.features else 1.0
        self.seen = normal(own, shape.levels, SIZE)
        self.drawn = normal(0.1, shape.levels, SIZE)
        self.bias = nn.Parameter(torch.zeros(1, 1, shape.levels))
        self.stop = normal(0.1, SIZE, 1)
        self.stop_bias = nn.Parameter(torch.zeros(1, 1, shape.most + 1))
        self.follows = normal(1.0 / math.sqrt(SIZE), SIZE, SIZE)
        if shape.features:
            self.register_buffer("features", torch.zeros(1, shape.levels, shape.features))
            scale = 1.0 / math.sqrt(shape.features)
            self.project_seen = normal(scale, shape.features, SIZE)
            self.project_drawn = normal(0.1 * scale, shape.features, SIZE)

    def vectors(self) -> tuple[Tensor, Tensor]:
        """Vectors of members as they are encoded and as they are decoded, each (M, levels, S)."""
        if not self.shape.features:
            return self.seen, self.drawn
        features = self.features
        return (
            self.seen + features @ self.project_seen,
            self.drawn + features @ self.project_drawn,
        )

    def encode(self, codes: Tensor) -> Tensor:
        """Sum of the vectors of the members, codes (M or 1, B, w) to (M, B, S)."""
        return _gather(self.vectors()[0], codes).sum(2)

    def decode(self, query: Tensor) -> Members:
        """Distribution over sets for what the decoder says of them, (M, B, S)."""
        seen, drawn = self.vectors()
        return Members(query, seen, drawn, self)


def _gather(table: Tensor, codes: Tensor) -> Tensor:
    """Vectors of codes (M or 1, B, w), zero where negative: (M, B, w, S)."""
    members = table.shape[0]
    codes = codes.expand(members, -1, -1)
    rows = torch.arange(members, device=codes.device)[:, None, None]
    return table[rows, codes.clamp(min=0)] * (codes >= 0).unsqueeze(-1)


@dataclass(frozen=True)
class Members:
    """Distribution over sets, (M, B) of them; see `SetColumn.decode`."""

    query: Tensor
    seen: Tensor
    drawn: Tensor
    column: SetColumn

    def _logits(self, state: Tensor, place: Tensor) -> tuple[Tensor, Tensor]:
        """Of every member (..., levels) and of the stop token (...), for states (M, ..., S).

        ``place`` counts the members that a set has already.
        """
        members = state.shape[0]
        flat = state.reshape(members, -1, state.shape[-1])
        logits = torch.baddbmm(self.column.bias, flat, self.drawn.transpose(1, 2))
        stop = (flat @ self.column.stop).squeeze(-1)
        shape = state.shape[:-1]
        bias = self.column.stop_bias.squeeze(1)[:, place]
        stop = stop.view(shape) + bias.view(members, *[1] * (len(shape) - 2), -1)
        # The first member always comes: an empty set is a missing one.
        stop = stop.masked_fill(place == 0, -math.inf)
        return logits.view(*shape, -1), stop

    def log_prob(self, codes: Tensor) -> Tensor:
        """Log-probability of sets (M or 1, B, w), codes ascending; a missing one counts nothing."""
        members = self.query.shape[0]
        levels, most = self.column.shape.levels, self.column.shape.most
        # A set larger than any training set has no place for its rarest members.
        codes = codes.expand(members, -1, -1)[..., :most]
        width = codes.shape[2]
        # State before each of the w + 1 draws: what the decoder says, and the members so far.
        vectors = _gather(self.seen, codes) @ self.column.follows.unsqueeze(1)
        before = torch.cat([torch.zeros_like(vectors[:, :, :1]), vectors.cumsum(2)], dim=2)
        place = torch.arange(width + 1, device=codes.device)
        logits, stop = self._logits(self.query.unsqueeze(2) + before, place)
        # Members come in the order of their codes: none before the last one may follow.
        last = torch.cat([torch.full_like(codes[..., :1], -1), codes], dim=2)
        ranks = torch.arange(levels, device=codes.device)
        logits = logits.masked_fill(ranks <= last.unsqueeze(-1), -math.inf)
        # A full set stops by itself, and so does one after the last member.
        closed = (place >= most) | (last >= levels - 1)
        everything = torch.cat([logits, stop.unsqueeze(-1)], dim=-1)
        normaliser = torch.logsumexp(everything.masked_fill(closed.unsqueeze(-1), 0.0), dim=-1)
        target = torch.cat([codes, torch.full_like(codes[..., :1], -1)], dim=2)
        chosen = logits.gather(-1, target.clamp(min=0).unsqueeze(-1)).squeeze(-1)
        picked = torch.where(target >= 0, chosen, stop) - normaliser
        # Draws that there were: one per member, then the stop unless the set was closed.
        counts = (codes >= 0).sum(2, keepdim=True)
        drawn = (place < counts) | ((place == counts) & ~closed)
        result = picked.masked_fill(~drawn, 0.0).sum(2)
        return result.masked_fill(counts.squeeze(2) == 0, 0.0)

    def sample(
        self, generator: torch.Generator | None = None, *, temperature: float = 1.0
    ) -> Tensor:
        """Draw sets, codes (M, B, most) padded with -1; the stop token is drawn first."""
        members, rows = self.query.shape[:2]
        levels, most = self.column.shape.levels, self.column.shape.most
        codes = torch.full((members, rows, most), -1, device=self.query.device)
        ranks = torch.arange(levels, device=self.query.device)
        state = self.query
        last = torch.full((members, rows), -1, device=self.query.device)
        going = torch.ones((members, rows), dtype=torch.bool, device=self.query.device)
        for step in range(most):
            place = torch.full((rows,), step, device=self.query.device)
            logits, stop = self._logits(state, place)
            logits = (logits / temperature).masked_fill(ranks <= last.unsqueeze(-1), -math.inf)
            stop = stop / temperature
            total = torch.logaddexp(torch.logsumexp(logits, dim=-1), stop)
            uniform = torch.rand(stop.shape, generator=generator, device=stop.device)
            going = going & (uniform >= torch.exp(stop - total)) & (last < levels - 1)
            logits = logits.masked_fill(~going.unsqueeze(-1), 0.0)
            flat = torch.softmax(logits, dim=-1).reshape(-1, levels)
            drawn = torch.multinomial(flat, 1, generator=generator).view(members, rows)
            last = torch.where(going, drawn, last)
            codes[..., step] = torch.where(going, drawn, -1)
            vectors = _gather(self.seen, codes[..., step : step + 1]).squeeze(2)
            state = state + vectors @ self.column.follows
        return codes
