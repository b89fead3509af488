"""The page of a run on frameworks: findings, scores, training and provenance."""

from __future__ import annotations

import numpy as np

from variolite.frameworks.diagnosis import Diagnosis
from variolite.report.page import Finding, Section, Table, missing, render_page
from variolite.report.run_sections import about_run, provenance_section, training_section
from variolite.report.style import figure_style
from variolite.scoring.scorecard import Scorecard
from variolite.training.run_folder import RunFiles, read_object


def framework_page(files: RunFiles) -> str:
    """Return the whole page of a run as HTML; parts that are not there yet are named as missing."""
    run = files.run
    card = run.read(run.scorecard_file, Scorecard.read)
    found = run.read(run.health_file, lambda path: Diagnosis.model_validate(read_object(path)))
    with figure_style():
        sections = (
            _findings(found),
            _scores(card),
            training_section(files.history, files.provenance, files.members),
            provenance_section(files),
        )
    sentences = [f.text for f in found.findings] if found else ["The run has not been scored yet"]
    title, about = files.name, about_run(files)
    return render_page(title, about, sentences, sections, simulated=files.simulated)


def _findings(found: Diagnosis | None) -> Section:
    if found is None:
        reason = "The run has not been scored: `variolite score RUN --data TABLE` does."
        return missing("findings", "Findings", reason)
    blocks = [Finding(f.level, f.text, f.advice or "") for f in found.findings]
    return Section("findings", "Findings", blocks)


def _scores(card: Scorecard | None) -> Section:
    if card is None:
        return missing("scores", "Scores", "There is no scorecard yet.")
    beside = {(row.metric, row.feature): row for row in card.rows if row.method != "vae"}
    rows = []
    for row in card.select(method="vae"):
        other = beside.get((row.metric, row.feature))
        spread = f"{row.low:.3g} to {row.high:.3g}" if np.isfinite(row.low) else ""
        against = (f"{other.mean:.3g}", other.method) if other else ("", "")
        rows.append((row.metric, row.feature or "", f"{row.mean:.3g}", spread, *against))
    head = ("metric", "of", "value", "95 %", "beside", "which is")
    return Section("scores", "Scores on held-out families", (Table(head, rows),))
