"""Sheets: everything stands in its place, nothing covers anything, gaps stay blank."""

import re
from dataclasses import replace

import numpy as np
import pytest

from page_layout import HOSTILE, layout_faults, read_page
from variolite.corelogs.held_out_rows import code_labels
from variolite.corelogs.striplog.pages import write_logs
from variolite.corelogs.striplog.tracks import Curve, tracks_of
from variolite.corelogs.striplog.well_log import Strip, WellLog
from variolite.errors import DataError

ROWS = 1500
ROCKS = ("Shale", "Sandstone", "Limestone", "Coal", "Halite", "Tuff", "Dolomite", "green stuff")


def made(rows=ROWS, formations=30, seed=0, step=0.152):
    """A well with all logs, a long gap and thin formations at its foot."""
    rng = np.random.default_rng(seed)
    depth = 1500 + np.arange(rows) * step
    depth[rows * 2 // 3 :] += 20
    noise = np.cumsum(rng.normal(size=(7, rows)), axis=1)
    noise = (noise - noise.mean(axis=1, keepdims=True)) / noise.std(axis=1, keepdims=True)
    gamma, caliper, deep, shallow, density, sonic, factor = noise
    logs = {
        "gamma_ray": ("GR", "gAPI", 80 + 40 * gamma),
        "caliper": ("CALI", "in", 9 + caliper),
        "bit_size": ("BS", "in", np.full(rows, 8.5)),
        "deep_resistivity": ("RDEP", "ohm.m", 10**deep),
        "shallow_resistivity": ("RSHA", "ohm.m", 10**shallow),
        "bulk_density": ("RHOB", "g/cm3", 2.4 + 0.1 * density),
        "neutron_porosity": ("NPHI", "m3/m3", 0.2 - 0.1 * density),
        "sonic_slowness": ("DTC", "us/ft", 90 + 15 * sonic),
        "photoelectric_factor": ("PEF", "b/e", 4 + factor),
    }
    curves = tuple(Curve(name, m, unit, values) for m, (name, unit, values) in logs.items())
    at = np.sort(rng.integers(0, rows, formations)) ** 2 // max(rows, 1)
    names = np.array(["", *(f"Formation number {i}" for i in range(formations))])
    named = names[np.searchsorted(at, np.arange(rows), side="right")]
    labels = code_labels(np.array(ROCKS)[(gamma * 3).astype(int) % len(ROCKS)])
    strips = (Strip("lithology", labels), Strip("cluster", labels, rocks=False))
    doubt = rng.random(rows)
    return WellLog("1/2-3 A", depth, "m", curves, strips, named if formations else None, doubt)


def written(log, out, **options):
    return write_logs([log.name], lambda _: log, tracks_of(log.curves), out, source="x", **options)


def svg(log, out, **options):
    (path,) = written(log, out, **options)
    return read_page(path.read_text("utf-8")).find("svg")[0]


@pytest.mark.parametrize("formations", [0, 3, 60, 400])
def test_no_lettering_covers_another(tmp_path, formations):
    drawing = svg(made(formations=formations), tmp_path / "a.svg")
    assert layout_faults(drawing) == []
    texts = {text.own_text() for text in drawing.find("text")}
    assert {"GR", "CALI", "BS", "0.45", "−0.15", "0.2", "2000", "uncer-", "Sandstone"} <= texts
    assert ("formation" in texts) == (formations > 0)


def test_hostile_long_and_missing_names(tmp_path):
    log = made(formations=5)
    curves = tuple(replace(curve, name=HOSTILE * 3, unit="long unit " * 9) for curve in log.curves)
    odd = replace(log, name=HOSTILE, curves=curves, unit="", formations=log.formations + HOSTILE)
    (path,) = write_logs([HOSTILE], lambda _: odd, tracks_of(curves), tmp_path / "a.svg", source="")
    drawing = read_page(path.read_text("utf-8")).find("svg")[0]
    assert layout_faults(drawing) == []
    assert drawing.find("script") == []


def pixels(path):
    from PIL import Image

    with Image.open(path) as image:
        return np.asarray(image.convert("RGB")).astype(int)


def test_gaps_are_blank_and_rocks_are_patterned(tmp_path):
    log = made(formations=0)
    sand = code_labels(np.array(["Sandstone"] * ROWS))
    log = replace(log, strips=(Strip("lithology", sand),), doubt=None, formations=None, curves=())
    image = pixels(written(log, tmp_path / "a.png")[0])
    # The column through the middle of the strip, found by its yellow.
    yellow = np.abs(image - (0xF5, 0xDC, 0x50)).sum(axis=2) < 12
    column = np.flatnonzero(yellow.sum(axis=0) > 500)
    inside = image[:, column[3] : column[-3]]
    rows = np.flatnonzero((np.abs(inside - (0xF5, 0xDC, 0x50)).sum(axis=2) < 12).mean(axis=1) > 0.3)
    breaks = np.diff(rows)
    assert breaks.max() > 20  # the gap
    start = rows[breaks.argmax()]
    gap = inside[start + 4 : start + breaks.max() - 4]
    assert (gap == 255).all()
    # Dots cover some of the bed, not much.
    bed = inside[rows[0] + 5 : start - 5]
    dark = (bed.sum(axis=2) < 400).mean()
    assert 0.005 < dark < 0.2


def test_a_scale_is_true_on_paper(tmp_path):
    log = made(formations=0)
    for scale in (200, 1000):
        drawing = svg(log, tmp_path / f"{scale}.svg", scale=scale)
        depths = {
            float(text.own_text()): float(text.attributes["y"])
            for text in drawing.find("text")
            if text.own_text().isdecimal() and 1500 < int(text.own_text()) < 1800
        }
        (first, *_, last) = sorted(depths)
        points_per_metre = (depths[last] - depths[first]) / (last - first)
        assert points_per_metre == pytest.approx(72 / 0.0254 / scale, rel=1e-3)
        assert f"1:{scale:,}" in {text.own_text() for text in drawing.find("text")}


def test_feet_are_scaled_too(tmp_path):
    log = replace(made(formations=0), unit="ft")
    tall = float(svg(log, tmp_path / "a.svg", scale=200).attributes["height"])
    metres = float(svg(replace(log, unit="m"), tmp_path / "b.svg", scale=200).attributes["height"])
    extent = np.ptp(log.depth) + 0.152
    assert metres - tall == pytest.approx(extent * (1 - 0.3048) * 72 / 0.0254 / 200, rel=1e-3)


def test_pdf_takes_as_many_pages_as_the_scale_needs(tmp_path):
    log = made(rows=600, formations=3)
    for scale, pages in ((None, 1), (500, 1), (200, 3)):  # 111 m, and about 220 mm on a page
        content = written(log, tmp_path / "a.pdf", scale=scale)[0].read_bytes()
        assert len(re.findall(rb"/Type /Page\s", content)) == pages
    again = written(log, tmp_path / "b.pdf", scale=scale)[0].read_bytes()
    assert again == content


def test_a_picture_that_is_too_tall_says_what_to_do(tmp_path):
    log = replace(made(formations=0), depth=np.linspace(0, 5000, ROWS))
    with pytest.raises(DataError, match="pixels tall") as refused:
        written(log, tmp_path / "a.png", scale=20)
    assert list(tmp_path.iterdir()) == []
    assert re.search(r"PDF, or use --scale \d+ or more", str(refused.value))


@pytest.mark.parametrize(("ending", "what"), [("pdf", "pages"), ("png", "tall"), ("svg", "tall")])
def test_drawings_of_any_kind_are_limited_before_the_first_is_drawn(tmp_path, ending, what):
    short = made(formations=0)
    long = replace(short, name="long", depth=np.linspace(0, 5000, ROWS))
    logs, tracks = {log.name: log for log in (short, long)}, tracks_of(short.curves)

    def write(scale):
        drawn = tmp_path / f"a.{ending}"
        return write_logs([*logs], logs.__getitem__, tracks, drawn, source="x", scale=scale)

    with pytest.raises(DataError, match=what) as refused:
        write(2)
    assert list(tmp_path.iterdir()) == []
    (least,) = re.findall(r"se --scale (\d+) or more", str(refused.value))
    assert len(write(int(least) * 20)) == (1 if ending == "pdf" else 2)
    with pytest.raises(DataError, match=what):
        write(int(least) - 10)


def test_one_row_and_no_logs(tmp_path):
    one = made(formations=0).part(slice(0, 1))
    bare = replace(made(), curves=(), strips=(), formations=None, doubt=None)
    for log in (one, bare):
        assert layout_faults(svg(log, tmp_path / "a.svg")) == []


def test_colour_of_the_core(tmp_path):
    log = made(formations=0)
    shades = ("red", 200.0), ("green", 120.0), ("blue", 40.0)
    curves = tuple(Curve(m, m, "0-255", np.full(ROWS, value)) for m, value in shades)
    core = replace(log, curves=curves, strips=(), formations=None, doubt=None)
    assert len(core.pictures) == 1
    image = pixels(written(core, tmp_path / "a.png")[0])
    assert ((image == (200, 120, 40)).all(axis=2)).sum() > 10_000
    (picture,) = replace(
        core, curves=tuple(replace(c, values=c.values / 255) for c in curves)
    ).pictures
    assert picture[0] == pytest.approx(np.array([200, 120, 40]) / 255)
