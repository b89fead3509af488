"""The demo: from structures that come with core-mof to a table, a model, and structures built new.

It is everything at reduced size: 60 frameworks instead of hundreds, a small network, and a request
for the void fraction, because no uptakes come with core-mof. Void fractions are measured on what is
built, so that a request meets its answer.
"""

from __future__ import annotations

import tarfile
from collections.abc import Iterable
from importlib.resources import as_file, files
from pathlib import Path
from typing import TYPE_CHECKING

import polars as pl

from variolite.errors import DataError
from variolite.frameworks.recipe import FrameworkRecipe
from variolite.optional import DESCRIBING, require
from variolite.progress import Progress

if TYPE_CHECKING:
    from variolite.frameworks.generation.framework_model import FrameworkModel

DATASET = "2014"
_NAMES = """
    ACOLIP_clean CUYHIO_clean DIDDOK_clean ECIWUJ_clean EDADIX_clean EDUSIF_clean EXEWAG_clean
    FEFDAX_clean FEFDEB_clean5b FUNBEW_clean FUNBIA_clean FUNBOG_clean FUNCAT_clean FUNCEX_clean
    GUYLOC_clean GUYLUI_clean GUYMAP_clean HIFGOU_clean HIFTOG01_clean ISUCUV_clean JASNAT_clean
    JASNEX_clean KAFYAT_clean KANCIN_clean KANDEK_clean KANDIO_clean KINHAS_clean LAWGIA_clean
    LAWGOG_clean LAWGUM_clean LEMNOH_clean MATTUX_clean MATVIN_clean MECWEX_clean5b MEFYUT_clean
    ODIXEG_clean ODODIW_clean PEPXIS_clean PEVQIS_clean_h PEVQOY_clean_h PEYPIU_clean
    PIHNUQ_clean PIXHOV_clean PIXPET_clean PORVUO_clean PURJES_clean QAQSAD_clean QOMFAA_clean
    RIFDUG01_clean TEBSAW_clean UVARIT_clean UVAROZ_clean UVARUF_clean UVASAM_clean
    VACFUB_clean_h VAZTOG_clean VUSKAW_clean WECJAR_clean XINFUW_clean YEGKOM_clean
"""
STRUCTURES = tuple(_NAMES.split())
"""Small frameworks of CoRE MOF 2014 on 13 nets, one of a family, chosen because they can be read
backwards into building units and put together again."""

REQUESTS = (0.45, 0.6, 0.75)
EACH = 20
SETTINGS = (
    "columns.co2_uptake=null",
    "columns.void_fraction={role: condition, transform: [quantile]}",
    "model.latent=4",
    "training.epochs=150",
    "training.beta.epochs=20",
)


def run_demo(out: Path, progress: Progress) -> Path:
    """Describe, fit, generate and assemble; return the path of the page of candidates."""
    require("CoRE_MOF", *DESCRIBING)
    # Late, so that a missing package is reported at once.
    from variolite.frameworks.assembly.assemble import assemble_table
    from variolite.frameworks.description.describe import describe_files
    from variolite.frameworks.field import FIELD
    from variolite.recipe import load_recipe
    from variolite.records import write_table

    title = f"unpacking {len(STRUCTURES)} structures of CoRE MOF {DATASET}, by core-mof"
    with progress.stage(title):
        cifs = unpack(STRUCTURES, out / "cifs")
    table, units = out / "table.parquet", out / "units.xyz"
    describe_files([cifs], table, units=units, progress=progress)
    progress.note("core-mof holds no uptakes: the model is given the void fraction instead")
    recipe = load_recipe("frameworks/assembly", SETTINGS, FrameworkRecipe)
    run = FIELD.train(recipe, table, out / "run", progress, restart=True)
    with progress.stage(f"generating {EACH} frameworks for each void fraction asked for"):
        rows = generated(run.model())
    write_table(rows, out / "generated.csv")
    candidates = out / "candidates"
    built = assemble_table(out / "generated.csv", candidates, units=[units], progress=progress)
    for line in outcome(built):
        progress.note(line)
    progress.note("built structures are idealised: none was relaxed with energies, or synthesised")
    return candidates / "report.html"


def unpack(names: Iterable[str], folder: Path) -> Path:
    """Write structures of core-mof as CIF files, in one pass through its archive."""
    folder.mkdir(parents=True, exist_ok=True)
    wanted = {f"{name}.cif" for name in names}
    with (
        as_file(files("CoRE_MOF.data") / f"{DATASET}.tar.xz") as archive,
        tarfile.open(archive) as packed,
    ):
        for member in packed:
            name = Path(member.name).name
            if name in wanted and (file := packed.extractfile(member)) is not None:
                (folder / name).write_bytes(file.read())
                wanted.remove(name)
    if wanted:
        missing = ", ".join(name.removesuffix(".cif") for name in sorted(wanted)[:3])
        what = f"core-mof has no {missing} in its set {DATASET}"
        raise DataError(what, hint="run pip install -U 'variolite[frameworks]'")
    return folder


def generated(model: FrameworkModel) -> pl.DataFrame:
    """Draw rows for every request."""
    from variolite.frameworks.generation.sampling import Request, generate
    from variolite.training.row_sampling import AS_TRAINED

    parts = []
    for place, value in enumerate(REQUESTS):
        request = Request({"void_fraction": value}, {})
        rows, _ = generate(model, EACH, request, options=AS_TRAINED, seed=place)
        names = [f"void_{value:g}_{i + 1:02d}" for i in range(rows.height)]
        parts.append(rows.with_columns(pl.Series("name", names)))
    return pl.concat(parts)


def outcome(built: pl.DataFrame) -> list[str]:
    """What was asked for, and the void fractions of what was built."""
    lines = []
    for value in REQUESTS:
        rows = built.filter(pl.col("void_fraction_requested") == value)
        measured = rows.filter("built")["void_fraction"]
        text = f"void fraction {value:g} asked for: {len(measured)} of {rows.height} are built"
        if len(measured):
            low, middle, high = (measured.quantile(q, "linear") for q in (0.0, 0.5, 1.0))
            text += f", and have {middle:.2f} (median; {low:.2f} to {high:.2f})"
        lines.append(text)
    return lines
