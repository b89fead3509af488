"""The page of a run on frameworks: what it generates beside real rows, and the run itself."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import polars as pl

from variolite.errors import counted
from variolite.frameworks.columns import CELL
from variolite.frameworks.diagnosis import Diagnosis
from variolite.frameworks.diagnosis.diagnose import HEADS, score_cells
from variolite.frameworks.diagnosis.tallies import Tallies
from variolite.frameworks.generation.sampling import table_of
from variolite.frameworks.report import generation_figures as figures
from variolite.frameworks.report.candidate_table import STYLE, candidate_table
from variolite.frameworks.report.generation_figures import asked_nothing, called
from variolite.report.page import (
    Block,
    Figure,
    Finding,
    Paragraph,
    Section,
    Table,
    missing,
    render_page,
)
from variolite.report.run_sections import about_run, provenance_section, training_section
from variolite.report.style import figure_style
from variolite.scoring.scorecard import Scorecard
from variolite.training.run_folder import RunFiles, RunFolder, read_run

SHOWN = 24  # generated rows in the table
_UNSCORED = "The run has not been scored: `variolite score RUN --data TABLE` does."
_MEANING = (
    "Distinct: different combinations among n draws. Expected: what n draws of training rows "
    "show; known: without novel ones. Novel: of no training row of this run; a real framework may "
    "well have it. Head: the fewest states that hold 80 % of training rows; tail: those of one or "
    "two; new held-out: those that only held-out families have, beside the most that recombining "
    "known members can find. Effective number: equally common states of the same entropy. TVD: "
    "total variation from held-out rows; joint: mean over pairs or triples of columns, real rows "
    "being as many of half of the training families, and independent those with every column "
    "shuffled by itself. Copies and repeats are equal in all columns, numbers to 4 digits."
)


@dataclass(frozen=True)
class Scored:
    """What `score` left in the folder beside the scorecard."""

    found: Diagnosis
    t: Tallies
    generated: pl.DataFrame

    @classmethod
    def read(cls, run: RunFolder) -> Scored | None:
        """Read it; None where a part is not there."""
        found = run.health(Diagnosis)
        files = (run.training_file, run.held_out_file, run.generated_file)
        tables = [table for path in files if (table := run.read(path, pl.read_parquet)) is not None]
        if found is None or len(tables) < len(files):
            return None
        training, held_out, generated = tables
        return cls(found, figures.compared(training, table_of(held_out), generated), generated)

    @property
    def extent(self) -> str:
        """How many rows there are of each, for captions."""
        members, each = len(self.t.samples), f"{len(self.t.samples[0]):,}"
        each, mean = (
            (f"{members} x {each}", f", of {members} members") if members > 1 else (each, "")
        )
        return (
            f"{len(self.t.train):,} training rows, {len(self.t.held_out):,} rows of held-out "
            f"families, {each} generated rows{mean}, at temperature 1 and balance 0."
        )


def report(run: RunFolder) -> Path:
    """Write the page of a run."""
    return run.write_page(framework_page(read_run(run)))


def framework_page(files: RunFiles) -> str:
    """Return the whole page of a run as HTML; parts that are not there yet are named as missing."""
    run = files.run
    card = run.read(run.scorecard_file, Scorecard.read)
    scored = Scored.read(run)
    sections = [missing("findings", "Findings", _UNSCORED)]
    with figure_style():
        if scored is not None:
            findings = [Finding(f.level, f.text, f.advice or "") for f in scored.found.findings]
            parts: dict[tuple[str, str], list[Block]] = {
                ("findings", "Findings"): [*findings],
                ("distributions", "Distributions, real against generated"): _distributions(scored),
                ("diversity", "Diversity against its ceiling"): [_diversity(scored)],
                ("requested", "Requested against predicted"): _requested(scored, card),
                ("rows", "Generated rows"): _rows(scored),
            }
            sections = [Section(*heading, blocks) for heading, blocks in parts.items()]
        sections += [
            _scores(card),
            training_section(files.history, files.provenance, files.members),
            provenance_section(files),
        ]
    found = scored.found.findings if scored else ()
    sentences = [one.text for one in found] or ["The run has not been scored yet"]
    title, about = files.name, about_run(files)
    return render_page(title, about, sentences, sections, simulated=files.simulated, style=STYLE)


def _distributions(scored: Scored) -> list[Block]:
    t, blocks = scored.t, list[Block]()
    for column in t.words:
        caption = (
            f"Share of rows that hold each of the commonest {called(column.name)}. Whiskers of "
            "held-out rows are 95 % intervals by Wilson's method, rows taken as independent; those "
            f"of generated rows the range of the members. {scored.extent}"
        )
        drawing = figures.shares_figure(t, column.name)
        blocks.append(Figure(f"shares-{column.name}", drawing, caption))
    cells = [column.name for column in t.numbers if column.name in (*CELL, "volume")]
    others = [column.name for column in t.numbers if column.name not in cells]
    what = {"Numeric columns": others, "Cell parameters, primitive and reduced": cells}
    for title, names in what.items():
        if names:
            caption = (
                f"{title}, share of rows in {figures.BINS} bins (%). What is beyond an axis is "
                "counted at its end. TVD is the total variation from held-out rows over five "
                f"classes; its floor is what as many real rows show. {scored.extent}"
            )
            drawing = figures.numbers_figure(t, names, scored.found.figures)
            blocks.append(Figure(title.split(",")[0].lower().replace(" ", "-"), drawing, caption))
    return blocks


def _diversity(scored: Scored) -> Figure:
    caption = (
        f"Different {called(scored.t.combination.name)} among the first n rows drawn. A model that "
        "only knew training rows could show no more than the dashed line; the black one is what n "
        "draws from training rows show. Dotted: what training rows have, too. Values at fewer rows "
        f"are means over subsets. {scored.extent}"
    )
    return Figure("diversity", figures.diversity_figure(scored.t), caption)


def _requested(scored: Scored, card: Scorecard | None) -> list[Block]:
    caption = (
        "What was asked for against what a surrogate predicts of the rows made. It was fitted on "
        "families that the generator has not seen and does not see the request; grey lines are its "
        "90 % intervals. On the dashed line both are equal. ρ is Spearman's rank correlation with "
        "its 95 % interval over requests."
    )
    scores = card.select(metric="spearman_asked", method="vae") if card else ()
    notes = {r.feature or "": f"ρ {r.mean:.2f} ({r.low:.2f} to {r.high:.2f});" for r in scores}
    reason = (
        "Nothing can be asked of this run: it has no conditions, or there were too few rows of "
        "other families for a surrogate."
    )
    found = figures.requests_figure(scored.generated, caption, notes)
    return [found or Paragraph(reason, "missing")]


def _rows(scored: Scored) -> list[Block]:
    free = asked_nothing(scored.generated).filter(pl.col("member") == 0)
    shown = free.head(SHOWN).with_columns(name=pl.format("row {}", pl.int_range(pl.len()) + 1))
    words = (
        f"The first {shown.height} of {counted(free.height, 'row')} that were drawn without a "
        "request, not picked. `variolite generate` writes more, with predictions; `variolite "
        "frameworks assemble` builds those that name a net and units. A head sorts."
    )
    return [Paragraph(words), candidate_table(shown)]


def _scores(card: Scorecard | None) -> Section:
    title = "Scores on held-out families"
    if card is None:
        return missing("scores", title, "There is no scorecard yet.")
    table = Table(HEADS, score_cells(card.rows), numbers_from=2, sortable=True)
    return Section("scores", title, [table, Paragraph(_MEANING, "remark")])
