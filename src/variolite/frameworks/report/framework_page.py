"""The page of a run on frameworks: what it generates beside real rows, and the run itself."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import polars as pl

from variolite.frameworks.columns import CELL
from variolite.frameworks.diagnosis import Diagnosis
from variolite.frameworks.diagnosis.findings import Figure as Quantity
from variolite.frameworks.generation.sampling import table_of
from variolite.frameworks.generation.score_run import HEADS, score_cells
from variolite.frameworks.report import generation_figures as figures
from variolite.frameworks.report.candidates_page import (
    STYLE,
    Molecules,
    candidate_table,
    conditions_of,
)
from variolite.frameworks.report.generation_figures import called
from variolite.report.formatting import percent, significant
from variolite.report.page import (
    Block,
    Figure,
    Finding,
    Fold,
    Heading,
    Paragraph,
    Section,
    Table,
    missing,
    render_page,
)
from variolite.report.run_sections import about_run, provenance_section, training_section
from variolite.report.style import figure_style
from variolite.scoring.scorecard import Scorecard
from variolite.training.run_folder import RunFiles, RunFolder

SHOWN = 24  # generated rows in the table
_UNSCORED = "The run has not been scored: `variolite score RUN --data TABLE` does."
_DRAWN = (
    "Grey: training rows; black: rows of held-out families with 95 % intervals of Wilson's, rows "
    "taken as independent; blue: generated, temperature 1 and balance 0"
)


@dataclass(frozen=True)
class Scored:
    """What `score` left in the folder beside the scorecard."""

    found: Diagnosis
    compared: figures.Compared
    generated: pl.DataFrame
    simulated: pl.DataFrame | None

    @classmethod
    def read(cls, run: RunFolder) -> Scored | None:
        """Read it; None where a part is not there."""
        found = run.health(Diagnosis)
        files = (run.training_file, run.held_out_file, run.generated_file)
        tables = [run.read(path, pl.read_parquet) for path in files]
        if found is None or any(table is None for table in tables):
            return None
        training, held_out, generated = (table for table in tables if table is not None)
        compared = figures.Compared.of(training, table_of(held_out), generated)
        simulated = run.read(run.path / "simulated.csv", pl.read_csv)
        return cls(found, compared, generated, simulated)

    @property
    def whiskers(self) -> str:
        members = len(self.compared.drawn)
        return f", the mean of {members} members with their range" if members > 1 else ""


def framework_page(files: RunFiles) -> str:
    """Return the whole page of a run as HTML; parts that are not there yet are named as missing."""
    run = files.run
    card = run.read(run.scorecard_file, Scorecard.read)
    scored = Scored.read(run)
    with figure_style():
        sections = [
            _findings(scored),
            *(_generation(scored, card) if scored else ()),
            _scores(card),
            training_section(files.history, files.provenance, files.members),
            provenance_section(files),
        ]
    found = scored.found.findings if scored else ()
    sentences = [one.text for one in found] or ["The run has not been scored yet"]
    title, about = files.name, about_run(files)
    return render_page(title, about, sentences, sections, simulated=files.simulated, style=STYLE)


def _findings(scored: Scored | None) -> Section:
    if scored is None:
        return missing("findings", "Findings", _UNSCORED)
    blocks = [Finding(f.level, f.text, f.advice or "") for f in scored.found.findings]
    return Section("findings", "Findings", blocks)


def _generation(scored: Scored, card: Scorecard | None) -> list[Section]:
    parts = {
        ("distributions", "Distributions, real against generated"): _distributions(scored),
        ("diversity", "Diversity against its ceiling"): _diversity(scored),
        ("requested", "Requested against predicted"): _requested(scored, card),
        ("rows", "Generated rows"): _rows(scored),
    }
    return [Section(anchor, title, blocks) for (anchor, title), blocks in parts.items()]


def _distributions(scored: Scored) -> list[Block]:
    c = scored.compared
    blocks: list[Block] = []
    words = [one for one in c.tallies.columns.values() if one.kind != "number"]
    shares = {one.name: c.shares(one) for one in words}
    notes = (
        f"{_DRAWN}{scored.whiskers}. {c.rows}. The axis is logarithmic; hollow dots at its left "
        "end are zero."
    )
    for name, own in shares.items():
        tail = (
            f" Right: of all {called(name)} in a table, the share that so many training rows hold; "
            "“none” are those that training rows do not have."
        )
        caption = f"Share of rows that hold each of the commonest {called(name)}."
        caption += tail * (len(own.names) > figures.HEAD_ROWS)
        drawing = figures.shares_figure(name, own)
        blocks.append(Figure(f"shares-{name}", drawing, f"{caption} {notes}"))
    numbers = [name for name, one in c.tallies.columns.items() if one.kind == "number"]
    cells = [name for name in (*CELL, "volume") if name in numbers]
    for some, what in (
        ([n for n in numbers if n not in cells], "Numeric columns"),
        (cells, "Cell parameters, primitive and reduced"),
    ):
        if some:
            caption = (
                f"{what}, share of rows in {figures.BINS} bins (%). {_DRAWN}{scored.whiskers}. "
                f"{c.rows}. What is beyond an axis is counted at its end. TVD is the total "
                "variation from held-out rows over five classes; its floor is what as many real "
                "rows show."
            )
            drawing = figures.numbers_figure(c, some, scored.found.figures)
            blocks.append(Figure(what.split(",")[0].lower().replace(" ", "-"), drawing, caption))
    return [*blocks, *_pairs(scored)]


def _pairs(scored: Scored) -> list[Block]:
    c, blocks = scored.compared, list[Block]()
    sets = [name for name in ("metals", "nodes") if name in c.tallies.columns]
    others = [name for name in ("linkers", "linker_units") if name in c.tallies.columns]
    for first, second in zip(sets, others, strict=False):
        caption = (
            f"Share of rows (%) that hold one of the {called(first)} (across) and one of the "
            f"{called(second)} (down), the commonest among real rows; empty where there is none, "
            f"no number below 0.05. Colours go by the square root. {c.rows}."
        )
        drawing = figures.pairs_figure(c, first, second)
        blocks.append(Figure(f"pairs-{first}-{second}", drawing, caption))
    words = [name for name, one in c.tallies.columns.items() if one.kind != "number"]
    if (distances := figures.joint_figure(scored.found.figures, words)) is not None:
        rows = scored.found.figure("joint TVD").n or 0
        caption = (
            f"Total variation of pairs and triples of columns from held-out families, {rows:,} "
            "rows each, mean over 10 subsets: generated rows, real rows of half the training "
            "families (sampling noise alone), and these with every column shuffled by itself. "
            f"{_intervals(scored)}"
        )
        blocks.append(Figure("pairs", distances, caption))
    return blocks


def _intervals(scored: Scored) -> str:
    rows = scored.found.rows
    seeds = rows["seeds"]
    over = f"{rows['held_out_families']:,} held-out families and {seeds} member{'s' * (seeds > 1)}"
    return f"Whiskers are 95 % bootstrap intervals over {over}."


def _diversity(scored: Scored) -> list[Block]:
    c, quantities = scored.compared, scored.found.figures
    caption = (
        f"Left: different {called(c.tallies.combination.name)} among the first n rows drawn. A "
        "model that only knew training rows could show no more than the dashed line; the black "
        "one is what n draws from training rows show. Right: both over that number; from 0.9 to "
        f"1.1, the pale band, counts as equal. Dotted: what training rows have, too. {c.rows}"
        f"{scored.whiskers}. Values at fewer rows are means over subsets."
    )
    blocks: list[Block] = [Figure("diversity", figures.diversity_figure(c), caption)]
    if (drawing := figures.coverage_figure(quantities)) is not None:
        caption = (
            "Share of states that are shown at least once. Head: the fewest states that hold 80 % "
            "of training rows; tail: those of one or two training rows; new held-out: those of "
            "held-out families that no training row has. Hollow: what as many draws from training "
            "rows show; of new ones, those made of known metals and linkers, which is the most "
            f"that can be recombined. {_intervals(scored)}"
        )
        blocks.append(Figure("coverage", drawing, caption))
    return [*blocks, Heading("Novelty, and effective numbers"), *_novelty(quantities)]


_MEANING = {
    "novel rows": "rows whose {of} no training row has",
    "new held-out found": "of new {of} of held-out families, those among {n:,} draws",
    "copies of training rows": "rows equal to a training row in all columns, numbers to 4 digits",
    "repeated rows": "of {n:,} rows, those equal to an earlier one in all columns",
    "effective number N1": "equally common {of} that have the same entropy, {n:,} rows",
    "Vendi number": "{of} that differ, by similarity of linkers times metals, {n:,} rows",
}


def _novelty(quantities: Sequence[Quantity]) -> list[Block]:
    rows = []
    shown = [one for one in quantities if one.quantity in _MEANING and one.shown]
    for one in sorted(shown, key=lambda one: list(_MEANING).index(one.quantity)):
        write = significant if "number" in one.quantity else percent
        ends = f"{write(one.low)} to {write(one.high)}" if math.isfinite(one.low) else ""
        beside = f"{write(one.reference)} ({one.against})" if math.isfinite(one.reference) else ""
        of = called(one.of.removesuffix(", members"))
        of = f"single {of}" if one.of.endswith(", members") else of
        what = _MEANING[one.quantity].format(of=of, n=one.n or 0)
        rows.append((one.quantity, what, write(one.value), ends, beside))
    head = ("quantity", "definition", "value", "95 %", "beside it")
    note = "Novel is new to the training rows of this run: a real framework may well have it."
    return [Table(head, rows, numbers_from=2), Paragraph(note, "remark")]


def _requested(scored: Scored, card: Scorecard | None) -> list[Block]:
    rows = scored.generated
    if scored.simulated is not None:
        rows = pl.concat([rows, scored.simulated], how="diagonal_relaxed")
    names = [n for n in conditions_of(rows) if f"{n}_requested" in rows.columns]
    blocks: list[Block] = []
    if not names:
        reason = (
            "Nothing can be asked of this run: it has no conditions, or there were too few rows "
            "of other families for a surrogate."
        )
        return [Paragraph(reason, "missing")]
    parts = [rows.filter(pl.col(f"{name}_requested").is_not_null()) for name in names]
    for start in range(0, len(names), 2):
        some, few = names[start : start + 2], parts[start : start + 2]
        notes = [_rank(card, name) for name in some]
        drawing = figures.requests_figure(few, some, notes)
        asked = ", ".join(
            f"{called(n)}: {p[f'{n}_requested'].n_unique()} values, {p.height} rows"
            for n, p in zip(some, few, strict=True)
        )
        caption = (
            f"What was asked for against what a surrogate predicts of the rows made ({asked}). It "
            "was fitted on families that the generator has not seen and does not see the request; "
            "grey lines are its 90 % intervals. On the dashed line both are equal. ρ is "
            "Spearman's rank correlation with its 95 % interval over requests."
        )
        blocks.append(Figure(f"requested-{some[0]}", drawing, caption))
    return blocks


def _rank(card: Scorecard | None, name: str) -> str:
    rows = card.select(metric="spearman_asked", feature=name) if card else ()
    return "".join(f"ρ {r.mean:.2f} ({r.low:.2f} to {r.high:.2f})" for r in rows[:1])


def _rows(scored: Scored) -> list[Block]:
    free = scored.compared.drawn[0]
    shown = free.head(SHOWN).with_columns(
        name=pl.Series([f"row {i + 1}" for i in range(min(SHOWN, free.height))])
    )
    molecules = Molecules()
    table = candidate_table(shown, molecules)
    words = (
        f"The first {shown.height} rows of {free.height:,} that were drawn without a request, not "
        "picked. `variolite generate` writes more, with predictions; `variolite frameworks "
        "assemble` builds those that name a net and units. A head sorts."
    )
    return [Paragraph(words), molecules.symbols, table]


def _scores(card: Scorecard | None) -> Section:
    if card is None:
        return missing("scores", "Scores", "There is no scorecard yet.")
    rows = score_cells(card)
    table = Table(HEADS, rows, sortable=True)
    title = "Scores on held-out families"
    return Section("scores", title, [Fold(f"All {len(rows)} scores", [table])])
