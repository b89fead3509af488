"""What the keys of a source configuration mean here, and why some mean nothing.

Paths are dotted, without the section (``vae_module``) that the model stands in.
"""

from __future__ import annotations

__all__ = ["MESSAGES", "OPTIMISERS", "REASONS", "SECTIONS", "TAKEN", "TARGETS"]

SECTIONS = ("vae_module", "vae", "model", "module")
"""Names of the section that the model stands in; without one its keys stand at the top."""

TAKEN: dict[str, str] = {
    "latent_dim": "model.latent",
    "encoder.d_model": "model.width",
    "decoder.d_model": "model.width",
    "d_model": "model.width",
    "encoder.hidden_dim": "model.width",
    "decoder.hidden_dim": "model.width",
    "hidden_dim": "model.width",
    "encoder.nhead": "model.heads",
    "decoder.nhead": "model.heads",
    "nhead": "model.heads",
    "encoder.num_layers": "model.encoder_layers",
    "decoder.num_layers": "model.decoder_layers",
    "encoder.dim_feedforward": "model.feedforward",
    "decoder.dim_feedforward": "model.feedforward",
    "dim_feedforward": "model.feedforward",
    "atom_type_predict": "model.given",
    "loss_weights.lambda_1": "loss.reconstruction",
    "loss_weights.lambda_recon": "loss.reconstruction",
    "loss_weights.reconstruction": "loss.reconstruction",
    "lambda_1": "loss.reconstruction",
    "loss_weights.kl": "loss.divergence",
    "loss_weights.lambda_2": "loss.divergence",
    "loss_weights.lambda_kl": "loss.divergence",
    "lambda_2": "loss.divergence",
    "kl_weight": "loss.divergence",
    "loss_weights.fa": "loss.alignment",
    "loss_weights.lambda_3": "loss.alignment",
    "loss_weights.lambda_fa": "loss.alignment",
    "lambda_3": "loss.alignment",
    "loss_weights.atom_types": "loss.species",
    "loss_weights.frac_coords": "loss.coordinates",
    "loss_weights.lengths": "loss.lattice",
    "loss_weights.lattice": "loss.lattice",
    "optimizer.lr": "training.learning_rate",
    "trainer.max_epochs": "training.epochs",
    "trainer.gradient_clip_val": "training.gradient_clip",
    "data.batch_size": "training.batch_size",
    "seed": "training.seed",
}
"""Path in the source to the key of the recipe. Where two are one here, the first one rules."""

MESSAGES = frozenset({"CSPNet", "CSPNetEncoder", "cspnet"})
"""Names of the other encoder; the model of kind ``source`` alone has it."""

TARGETS: dict[str, frozenset[str]] = {
    "": frozenset({"VAEModule"}),
    "encoder": frozenset({"TransformerEncoder", "transformer", *MESSAGES}),
    "decoder": frozenset({"TransformerDecoder", "transformer"}),
}
"""Names of the classes whose place a part of Variolite takes, by section of the source."""

OPTIMISERS = frozenset({"Adam", "AdamW"})
"""What Adam here is the same as, without weight decay."""

_NO_DRAWS = "latents and reconstructions do not depend on it here, so nothing is drawn"
_FIXED = "the layers here are always pre-norm with tanh-GELU, biases and no dropout"
_COMMAND = "this is chosen when a command is called, not in a recipe"
_STOPPING = "the best weights on held-back crystals are always kept; patience counts epochs here"
_LOGGING = "every run writes history.jsonl and a report; nothing is sent anywhere"

REASONS: dict[str, str] = {
    "loss_weights.angles": "lengths and angles are one metric here, weighted by loss.lattice",
    "encoder.max_num_elements": "the table of elements is made from the training crystals",
    "decoder.max_num_elements": "the table of elements is made from the training crystals",
    "encoder.index_embedding": "atoms have no number here: their order means nothing",
    "decoder.index_embedding": "atoms have no number here: their order means nothing",
    "encoder.atom_index_embedding": "atoms have no number here: their order means nothing",
    "decoder.atom_index_embedding": "atoms have no number here: their order means nothing",
    "pos_embed": "atoms have no number here: their order means nothing",
    "encoder.activation": _FIXED,
    "decoder.activation": _FIXED,
    "encoder.dropout": _FIXED,
    "decoder.dropout": _FIXED,
    "encoder.norm_first": _FIXED,
    "decoder.norm_first": _FIXED,
    "encoder.bias": _FIXED,
    "decoder.bias": _FIXED,
    "decoder.atom_type_predict": "model.given says so for the whole model",
    "augmentation": _NO_DRAWS,
    "noise": "inputs are not corrupted here",
    "structure_matcher": "`variolite score` matches at the usual tolerances and at strict ones",
    "optimizer.weight_decay": "Adam runs without weight decay here, which is what 0 means",
    "optimizer.betas": "Adam has 0.9 and 0.999 here",
    "optimizer.eps": "Adam has 1e-8 here",
    "optimizer._partial_": "it belongs to the way in which the source builds its objects",
    "optimizer._target_": "Adam without weight decay is used, which is the same",
    "scheduler": "the rate is constant, or falls on a plateau: see training.plateau",
    "max_atoms": "crystals may have any number of atoms",
    "trainer.min_epochs": _STOPPING,
    "trainer.check_val_every_n_epoch": "held-back crystals are looked at after every epoch",
    "trainer": "the loop, the device and precision are chosen by `variolite fit`",
    "data.mace_features": "features are computed once by CHGNet where loss.alignment is above 0",
    "data.num_workers": "crystals lie in flat arrays; no workers load them",
    "data.pin_memory": "crystals lie in flat arrays; no workers load them",
    "data.dataset_type": _COMMAND,
    "data.data_dir": _COMMAND,
    "data.target_condition": "conditions belong to the prior, which is fitted after training",
    "data": "data are given to `variolite fit` with --data",
    "callbacks.early_stopping": _STOPPING,
    "callbacks.model_checkpoint": _STOPPING,
    "callbacks": "the loop needs none",
    "logger": _LOGGING,
    "ckpt_path": "weights of the source are pickles and are not read",
    "resume_from": "weights of the source are pickles and are not read",
    "task_name": "the folder of a run is named with --out",
    "tags": _LOGGING,
    "paths": _COMMAND,
    "hydra": "commands are not composed by Hydra here",
}
"""Path, or the section it lies in, to why it has no counterpart; the longest one rules."""
