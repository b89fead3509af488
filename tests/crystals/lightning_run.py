"""Train a tiny crystal VAE under Lightning in two processes and store what they did.

Run as ``python lightning_run.py FOLDER``: gradients of every step, what was logged, and a
checkpoint. Lightning starts the second process with the same command.
"""

import json
import sys
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file

from variolite.crystals import Crystals
from variolite.crystals.files.textbook import textbook_crystals
from variolite.crystals.recipe import CrystalRecipe, PriorSpec

BATCH = 24
EPOCHS = 2


def recipe() -> CrystalRecipe:
    """A tiny network; a rate so small that every step sees the same weights."""
    model = {"latent": 4, "width": 16, "heads": 2, "feedforward": 32}
    beta = {"kind": "linear", "start": 0.5, "end": 1.0, "epochs": 1}
    return CrystalRecipe.model_validate(
        {
            "model": {**model, "encoder_layers": 1, "decoder_layers": 1},
            "loss": {"kl": 0.1},
            "training": {"beta": beta, "learning_rate": 1e-12, "epochs": EPOCHS, "seed": 3},
        }
    )


def crystals() -> tuple[Crystals, Crystals]:
    """Crystals of 1 to 14 atoms, so that portions differ in their numbers of atoms."""
    return textbook_crystals(), textbook_crystals().take(np.arange(0, 78, 3))


def main(folder: Path) -> None:
    """Train and store."""
    from lightning import Callback, LightningModule, Trainer
    from lightning.pytorch.strategies import DDPStrategy

    from variolite.crystals.lightning import CrystalDataModule, VAEModule

    torch.set_num_threads(1)
    gradients: dict[str, torch.Tensor] = {}

    class Record(Callback):
        def on_before_optimizer_step(
            self, trainer: Trainer, pl_module: LightningModule, optimizer: object
        ) -> None:
            for name, parameter in pl_module.vae.named_parameters():
                assert parameter.grad is not None, name
                gradients[f"{trainer.global_step}/{name}"] = parameter.grad.clone()

    training, validation = crystals()
    module = VAEModule.from_recipe(recipe(), training)
    trainer = Trainer(
        accelerator="cpu",
        devices=2,
        strategy=DDPStrategy(process_group_backend="gloo"),
        max_epochs=EPOCHS,
        callbacks=[Record()],
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
        default_root_dir=folder,
    )
    data = CrystalDataModule(training, validation, batch_size=BATCH, latent=4, seed=3)
    trainer.fit(module, data)
    if trainer.is_global_zero:
        module.fit_prior(training, PriorSpec(width=16, layers=1, heads=2, epochs=2))
    trainer.save_checkpoint(folder / "trained.ckpt", weights_only=False)
    if trainer.is_global_zero:
        save_file(gradients, folder / "gradients.safetensors")
        logged = {name: float(value) for name, value in trainer.callback_metrics.items()}
        (folder / "logged.json").write_text(json.dumps({"steps": trainer.global_step, **logged}))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
