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
    from variolite.frameworks.diagnosis import Diagnosis
    from variolite.frameworks.generation.framework_model import FrameworkModel
    from variolite.records import Records
    from variolite.scoring import Scorecard
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
    format_scores = Deferred("variolite.frameworks.generation.score_run", "format_scorecard")
    encode = row_command(_latents)
    reconstruct = row_command(reconstructions)
    generate = Deferred("variolite.frameworks.generation.sampling", "generate_table")
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

        run, _ = train_run(
            recipe,
            data,
            out,
            mapping=bound,
            seeds=members,
            device=device,
            restart=restart,
            load=read_frameworks,
            features=member_features if recipe.linker_features else lambda _: None,
            complete=partial(complete, prior=recipe.prior == "mixture"),
            save=save_model,
            progress=progress,
        )
        model: FrameworkModel = run.model()
        for name in model.condition_names:
            surrogate = model.surrogates.get(name)
            if surrogate is None:
                progress.note(f"no surrogate of {name}: there are too few rows of other families")
                continue
            progress.note(
                f"surrogate of {name}, on families that the model has not seen: "
                f"R2 {surrogate.r2:.2f}, mean error {surrogate.mae:.3g}"
            )
        run.seal_fit()
        return run

    def score(
        self, run: RunFolder, data: Paths, progress: Progress, *, mapping: Sequence[str] = ()
    ) -> Scorecard:
        from variolite.frameworks.generation.score_run import score_framework_run

        bound = parse_mapping(mapping, run.recipe().columns)
        with progress.stage("scoring on held-out families") as step:
            return score_framework_run(run, data, mapping=bound, log=step)

    def report(self, run: RunFolder) -> Path:
        from variolite.frameworks.report.framework_page import framework_page
        from variolite.training.run_folder import read_run

        return run.write_page(framework_page(read_run(run)))

    def doctor(
        self,
        run: RunFolder,
        data: Paths | None,
        progress: Progress,
        *,
        mapping: Sequence[str] = (),
    ) -> Diagnosis:
        """Draw rows and diagnose them, or take the diagnosis of the last score."""
        from variolite.frameworks.diagnosis import Diagnosis
        from variolite.frameworks.generation.score_run import diagnose_run, draw_rows, parts_of

        model = run.model()  # read even where it is not needed, so that damage shows
        if data is not None:
            bound = parse_mapping(mapping, model.schema.schema.columns)
            with progress.stage("diagnosing") as step:
                parts = parts_of(model, data, bound, run.split())
                return diagnose_run(model, parts, draw_rows(model, log=step), log=step)
        return run.require_health(Diagnosis)


FIELD = FrameworkField()
