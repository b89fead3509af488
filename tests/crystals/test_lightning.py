"""Lightning: two processes train as one, checkpoints are restored whole and cannot run code."""

import json
import os
import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from lightning_run import BATCH, EPOCHS, crystals, recipe
from safetensors.torch import load_file

from variolite.crystals.geometry.frame import canonical
from variolite.crystals.model import CrystalBatch, CrystalBatches, CrystalModule, evaluation_batches
from variolite.crystals.run import VALIDATION_SEED, build
from variolite.errors import ModelFileError
from variolite.training.optimiser import beta_at

# Lightning and what it brings warn while they are imported.
with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    pytest.importorskip("lightning", reason="the package lightning is not installed")
    from variolite.crystals.lightning import CrystalDataModule, VAEModule

RUN = Path(__file__).with_name("lightning_run.py")


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """Folder of a training in two processes."""
    folder = tmp_path_factory.mktemp("lightning")
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("PL_", "LOCAL_"))}
    run = subprocess.run(
        [sys.executable, str(RUN), str(folder)],
        env={**environment, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert run.returncode == 0, run.stderr[-3000:]
    return folder


@pytest.fixture(scope="module")
def alone():
    """The network with which both begin."""
    module = build(recipe(), canonical(crystals()[0]).crystals)
    assert isinstance(module, CrystalModule)
    return module


def gradients(module, batch, beta):
    module.zero_grad()
    module.loss(batch, torch.tensor([beta])).total.sum().backward()
    return {
        name: parameter.grad.clone()
        for name, parameter in module.named_parameters()
        if parameter.grad is not None
    }


def test_gradients_of_two_processes_are_those_of_one(trained, alone):
    found = load_file(trained / "gradients.safetensors")
    tensors = CrystalBatch.of(canonical(crystals()[0]).crystals, torch.device("cpu"))
    batches = CrystalBatches(tensors, BATCH, alone.architecture.latent, recipe().training.seed)
    step = 0
    for epoch in range(EPOCHS):
        beta = beta_at(recipe().training.beta, epoch) * recipe().loss.kl
        for batch in batches.epoch(epoch):
            for name, expected in gradients(alone, batch, beta).items():
                scale = float(expected.abs().max())
                np.testing.assert_allclose(
                    found[f"{step}/{name}"], expected, rtol=1e-4, atol=1e-5 * max(scale, 0.1)
                )
            step += 1
    assert step == json.loads((trained / "logged.json").read_text())["steps"] == 2 * (78 // BATCH)
    assert len(found) == step * len(list(alone.parameters()))


def test_what_is_logged_is_of_all_processes(trained, alone):
    logged = json.loads((trained / "logged.json").read_text())
    training, validation = (
        CrystalBatch.of(canonical(part).crystals, torch.device("cpu")) for part in crystals()
    )
    latent = alone.architecture.latent
    beta = torch.tensor([recipe().loss.kl])
    with torch.no_grad():
        parts = [
            alone.loss(batch, beta)
            for batch in evaluation_batches(validation, latent, noise_seed=VALIDATION_SEED)
        ]
        last = CrystalBatches(training, BATCH, latent, recipe().training.seed).epoch(EPOCHS - 1)
        steps = [float(alone.loss(batch, beta).reconstruction) for batch in last]
    assert len(parts) == 1
    # Means over atoms of portions cannot give the mean over cells exactly.
    assert logged["val/kl"] == pytest.approx(float(parts[0].kl), rel=1e-4)
    assert logged["val/reconstruction"] == pytest.approx(float(parts[0].reconstruction), rel=0.02)
    assert logged["train/reconstruction"] == pytest.approx(float(np.mean(steps)), rel=1e-4)


@pytest.fixture(scope="module")
def loaded(trained):
    return VAEModule.load_from_checkpoint(trained / "trained.ckpt")


def test_a_checkpoint_restores_weights_settings_and_prior(loaded, alone):
    assert loaded.vae.architecture == alone.architecture
    assert loaded.vae.weights == alone.weights
    assert loaded.spec == recipe().training
    for name, value in alone.state_dict().items():
        np.testing.assert_allclose(loaded.vae.state_dict()[name], value, atol=1e-6)
    assert loaded.prior is not None


def test_a_checkpoint_of_the_first_version_is_still_read(trained, tmp_path, loaded):
    content = torch.load(trained / "trained.ckpt", weights_only=True)
    settings = content["hyper_parameters"]
    network = settings.pop("network")
    architecture = network["architecture"]
    architecture["waves"] = architecture.pop("fourier_features")
    architecture["species_given"] = bool(architecture.pop("given"))
    architecture |= {key: network[key] for key in ("elements", "features")}
    settings["divergence"] = network["weights"].pop("kl")
    settings |= {"architecture": architecture, "weights": network["weights"]}
    for key in list(content["state_dict"]):
        old = key.replace("encoder_skip", "around_encoder").replace("log_metric", "metric")
        old = old.replace("decoder_skip", "around_decoder")
        content["state_dict"][old] = content["state_dict"].pop(key)
    torch.save(content, tmp_path / "old.ckpt")
    again = VAEModule.load_from_checkpoint(tmp_path / "old.ckpt")
    assert again.vae.architecture == loaded.vae.architecture
    assert again.vae.weights == loaded.vae.weights
    validation = crystals()[1]
    np.testing.assert_array_equal(again.encode(validation).mean, loaded.encode(validation).mean)


def test_the_verbs_are_those_of_the_model(loaded):
    validation = crystals()[1]
    latents = loaded.encode(validation)
    assert latents.mean.shape == (len(validation.species), 4)
    np.testing.assert_array_equal(latents.mean, loaded.model.encode(validation).mean)
    decoded = loaded.decode(latents)
    assert decoded.counts.tolist() == validation.counts.tolist()
    assert (decoded.volumes > 0).all()
    rebuilt = loaded.reconstruct(validation)
    assert rebuilt.names.tolist() == validation.names.tolist()
    tensors = CrystalBatch.of(canonical(validation).crystals, torch.device("cpu"))
    (batch,) = evaluation_batches(tensors, 4, noise_seed=None)
    assert loaded(batch).mean.shape == (1, len(validation.species), 4)


class Harmful:
    """Touches a file when it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.system, (f"touch {self.path}",)


def test_a_checkpoint_that_would_run_code_is_refused(trained, tmp_path):
    content = torch.load(trained / "trained.ckpt", weights_only=True)
    content["callbacks"] = Harmful(tmp_path / "harmed")
    torch.save(content, tmp_path / "harmful.ckpt")
    with pytest.raises(ModelFileError, match="plain data"):
        VAEModule.load_from_checkpoint(tmp_path / "harmful.ckpt")
    assert not (tmp_path / "harmed").exists()


def test_wrong_checkpoints_are_told(trained, tmp_path):
    path, whole = tmp_path / "wrong.ckpt", (trained / "trained.ckpt").read_bytes()
    other = torch.load(trained / "trained.ckpt", weights_only=True)
    other["hyper_parameters"]["network"]["architecture"]["width"] = 32
    for content in (None, whole[: len(whole) // 2], b"", {"state_dict": {}, "epoch": 3}, other):
        if isinstance(content, bytes):
            path.write_bytes(content)
        elif content is not None:
            torch.save(content, path)
        with pytest.raises(ModelFileError, match=r"wrong\.ckpt"):
            VAEModule.load_from_checkpoint(path)


def test_wrong_settings_are_told():
    training, validation = crystals()
    data = CrystalDataModule(training, validation, batch_size=10**6, latent=4)
    assert len(data.train_dataloader()) == 1
    assert sum(len(batch.order) for batch in data.val_dataloader()) == len(validation)
    module = VAEModule.from_recipe(recipe(), training)
    with pytest.raises(ValueError, match="no prior"):
        module.sample(1)
