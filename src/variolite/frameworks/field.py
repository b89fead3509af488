"""Frameworks as a field: what the commands do on their runs."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from variolite.arguments import parse_mapping
from variolite.fields import Deferred, Paths
from variolite.frameworks.recipe import FrameworkRecipe
from variolite.progress import Progress
from variolite.training.row_commands import Columns, latents, reconstructions, row_command

if TYPE_CHECKING:
    from variolite.frameworks.generation.framework_model import FrameworkModel
    from variolite.records import Records
    from variolite.training import RunFolder


def _latents(model: FrameworkModel, records: Records, *others: object) -> Columns:
    """Latents, and what the surrogates predict."""
    import polars as pl

    predicted = model.predictions(records)
    columns = {name: pl.Series(values) for name, values in predicted.items()}
    return latents(model, records, *others) | columns


class FrameworkField:
    """See `variolite.fields.Field`."""

    kind = "frameworks"
    model_kind = "variolite.framework_vae"
    subject = "frameworks"
    recipe = FrameworkRecipe
    load_model = Deferred("variolite.frameworks.generation.framework_model", "load_model")
    score = Deferred("variolite.frameworks.generation.score_run", "score")
    format_scores = Deferred("variolite.frameworks.generation.score_run", "format_scorecard")
    encode = row_command(_latents)
    reconstruct = row_command(reconstructions, inputs=True)
    generate = Deferred("variolite.frameworks.generation.sampling", "generate_table")
    doctor = Deferred("variolite.frameworks.generation.score_run", "doctor")
    report = Deferred("variolite.frameworks.report.framework_page", "report")
    demo = Deferred("variolite.frameworks.demo", "run_demo")

    def train(
        self,
        recipe: FrameworkRecipe,
        data: Paths,
        out: Path,
        progress: Progress,
        *,
        mapping: Sequence[str] = (),
        members: int = 1,
        device: str = "auto",
        restart: bool = False,
    ) -> RunFolder:
        """Train, then fit priors and surrogates."""
        bound = parse_mapping(mapping, recipe.columns)
        # Late, so that a mistake above is reported without the seconds that torch takes.
        from variolite.frameworks.framework_table import read_frameworks
        from variolite.frameworks.generation.framework_model import (
            complete,
            member_features,
            save_model,
        )
        from variolite.training.run import train_run

        features = member_features if recipe.linker_features else lambda _: None
        prior = recipe.prior == "mixture"
        run, _ = train_run(
            recipe,
            data,
            out,
            mapping=bound,
            seeds=members,
            device=device,
            restart=restart,
            load=read_frameworks,
            features=features,
            complete=partial(complete, prior=prior, progress=progress),
            save=save_model,
            progress=progress,
        )
        run.seal_fit()
        return run


FIELD = FrameworkField()
