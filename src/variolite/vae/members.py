"""Joining single models into one batched model, and taking them apart again.

Members may differ in their latent size. A smaller member is padded with zero
weights for the dimensions it lacks. Those stay zero: their posterior is the
prior (mean 0, variance 1), its noise is zero, so that no gradient reaches them
and Adam leaves them alone. The padded member therefore trains exactly as it
would alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from variolite.errors import TrainingError
from variolite.vae.tabular import Architecture, TabularModule

__all__ = ["blank", "member", "stack"]


def _latent_axes(name: str, layers: int) -> tuple[str, int] | None:
    """Say how the latent size enters a parameter: which part and along which axis."""
    if name in (f"encoder.layers.{layers}.weight", f"encoder.layers.{layers}.bias"):
        return "heads", 2
    if name == "decoder.layers.0.weight":
        return "inputs", 1
    return None


def _widen(value: Tensor, part: str, axis: int, latent: int, target: int) -> Tensor:
    """Insert zeros for the latent dimensions from ``latent`` up to ``target``."""
    count = value.shape[axis]
    blocks = [value.narrow(axis, 0, latent)]
    gap = list(value.shape)
    gap[axis] = target - latent
    zeros = value.new_zeros(gap)
    blocks.append(zeros)
    blocks.append(value.narrow(axis, latent, count - latent))
    if part == "heads":  # means and log-variances lie side by side
        blocks.append(zeros)
    return torch.cat(blocks, dim=axis)


def _narrow(value: Tensor, part: str, axis: int, latent: int, source: int) -> Tensor:
    """Undo `_widen`."""
    first = value.narrow(axis, 0, latent)
    length = latent if part == "heads" else value.shape[axis] - source
    return torch.cat([first, value.narrow(axis, source, length)], dim=axis)


def stack(modules: Sequence[TabularModule]) -> TabularModule:
    """Join models that differ in nothing but weights and latent size.

    Raises
    ------
    TrainingError
        If they differ in anything else.
    """
    architectures = [module.architecture for module in modules]
    latent = max(architecture.latent for architecture in architectures)
    joint = replace(architectures[0], latent=latent)
    if any(replace(a, latent=latent) != joint for a in architectures):
        raise TrainingError(
            "members may differ in seed, beta and latent size only",
            mend="train models of different shape in separate runs",
        )
    result = TabularModule(joint, seed=0)
    states = [module.state_dict() for module in modules]
    layers = len(joint.encoder)
    for name, owner in _owners(result).items():
        rule = _latent_axes(name, layers)
        values = [state[name] for state in states]
        if rule is not None:
            values = [
                _widen(value, *rule, a.latent, latent)
                for value, a in zip(values, architectures, strict=True)
            ]
        _set(owner, name, torch.cat(values))
    return result


def blank(architecture: Architecture, members: int) -> TabularModule:
    """Return a batched model of the right shapes, to load weights into."""
    result = TabularModule(architecture, seed=0)
    for name, owner in _owners(result).items():
        value = result.state_dict()[name]
        _set(owner, name, value.repeat(members, *[1] * (value.dim() - 1)))
    return result


def member(module: TabularModule, index: int, latent: int | None = None) -> TabularModule:
    """Take one member out as a model of its own, cut to its latent size."""
    joint = module.architecture
    size = joint.latent if latent is None else latent
    alone: Architecture = replace(joint, latent=size)
    result = TabularModule(alone, seed=0)
    state = module.state_dict()
    for name, owner in _owners(result).items():
        value = state[name][index : index + 1]
        rule = _latent_axes(name, len(joint.encoder))
        if rule is not None:
            value = _narrow(value, *rule, size, joint.latent)
        _set(owner, name, value.clone())
    return result


def _owners(module: TabularModule) -> dict[str, torch.nn.Module]:
    return {name: module.get_submodule(name.rpartition(".")[0]) for name in module.state_dict()}


def _set(owner: torch.nn.Module, name: str, value: Tensor) -> None:
    attribute = name.rpartition(".")[2]
    if attribute in owner._buffers:
        owner._buffers[attribute] = value
    else:
        setattr(owner, attribute, torch.nn.Parameter(value))
