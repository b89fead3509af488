"""Colours stay apart for every kind of vision, and any name is harmless in a drawing."""

import os
import re
import subprocess
import sys
from itertools import combinations
from xml.etree import ElementTree

import numpy as np
import pytest
from matplotlib import rc_context

from variolite.report import style
from variolite.report.figures import legend

# Machado, Oliveira and Fernandes (2009), severity 1; rows of linear RGB.
VISION = {
    "normal": np.eye(3),
    "protanopia": np.array([
        [0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216],
        [-0.003882, -0.048116, 1.051998],
    ]),
    "deuteranopia": np.array([
        [0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413],
        [-0.011820, 0.042940, 0.968881],
    ]),
}  # fmt: skip
# Oklab (B. Ottosson, 2020): from linear RGB to cones, from their cube roots to the coordinates.
CONES = np.array([
    [0.4122214708, 0.5363325363, 0.0514459929], [0.2119034982, 0.6806995451, 0.1073969566],
    [0.0883024619, 0.2817188376, 0.6299787005],
])  # fmt: skip
LAB = np.array([
    [0.2104542553, 0.7936177850, -0.0040720468], [1.9779984951, -2.4285922050, 0.4505937099],
    [0.0259040371, 0.7827717662, -0.8086757660],
])  # fmt: skip


def linear(colour):
    share = np.array([int(colour[i : i + 2], 16) for i in (1, 3, 5)]) / 255
    return np.where(share <= 0.04045, share / 12.92, ((share + 0.055) / 1.055) ** 2.4)


def oklab(colour, vision):
    """Return Oklab coordinates of a colour as it is seen."""
    return LAB @ np.cbrt(CONES @ np.clip(VISION[vision] @ linear(colour), 0, 1))


def closest(colours, vision):
    return min(
        float(np.linalg.norm(oklab(a, vision) - oklab(b, vision)))
        for a, b in combinations(colours, 2)
    )


@pytest.mark.parametrize("vision", VISION)
def test_the_extension_is_as_safe_as_okabe_and_ito(vision):
    worst = min(closest(style.OKABE_ITO, v) for v in VISION)
    assert closest(style.CATEGORIES, vision) >= worst - 1e-9
    assert worst > 0.07


def test_categories_stand_out_from_paper_and_from_rows_without_one():
    for ground in ("#ffffff", style.SHADE):
        for colour in style.CATEGORIES:
            assert np.linalg.norm(oklab(colour, "normal") - oklab(ground, "normal")) > 0.1
    assert style.OTHER not in style.CATEGORIES


def contrast(*colours):
    dark, light = sorted(float(np.dot([0.2126, 0.7152, 0.0722], linear(c))) for c in colours)
    return (light + 0.05) / (dark + 0.05)


def test_letters_on_any_colour_have_the_contrast_wcag_asks_for():
    shares = np.linspace(0, 1, 101).tolist()
    ramps = [
        style.blend(ramp, share) for ramp in (style.SEQUENTIAL, style.DIVERGING) for share in shares
    ]
    for colour in (*ramps, *style.CATEGORIES):
        assert contrast(colour, style.ink_on(colour)) >= 4.0, colour


def test_ramps_run_one_way_in_lightness():
    lightness = [
        oklab(style.blend(style.SEQUENTIAL, s), "normal")[0] for s in np.linspace(0, 1, 60)
    ]
    assert (np.diff(lightness) < 0).all()
    diverging = [oklab(style.blend(style.DIVERGING, s), "normal")[0] for s in np.linspace(0, 1, 61)]
    assert (np.diff(diverging[:31]) > 0).all()
    assert (np.diff(diverging[30:]) < 0).all()
    assert [style.blend(style.SEQUENTIAL, share) for share in (0, 1, -3)] == [
        "#fffbe6",
        "#00224e",
        "#fffbe6",
    ]
    assert style.blend(("#000000", "#ffffff"), 0.5) == "#808080"


# Figures as SVG

STRANGE = (
    "</svg><script>alert(1)</script>", "$x^2$ and $\\frac{", "\\alpha _{} \x00\x07\ud800",
    "a" * 300, "😀 \u05d0\u05d1\u05d2 \u0627\u0644\u0639 中文", "two\nlines", "",
)  # fmt: skip


def drawn(name):
    name = style.shorten(name, 60)
    with style.figure_style():
        figure = style.new_figure(120)
        axes = style.axes_at(figure, 60, 30, 300, 60)
        axes.set(title=name, xlabel=name, ylabel=name)
        axes.set_xticks([0.5], [name])
        axes.scatter([0.2, 0.8], [0.5, 0.5], rasterized=True)
        legend(figure, [(name, style.CATEGORIES[0])], 400, 50, 100)
        return style.to_svg(figure, name)


@pytest.mark.parametrize("name", STRANGE)
def test_strange_names_are_drawn_as_they_are_and_stay_text(name):
    root = ElementTree.fromstring(drawn(name))
    ns = "{http://www.w3.org/2000/svg}"
    assert {part.tag.removeprefix(ns) for part in root.iter()} <= {
        "svg", "title", "path", "text", "g", "use", "defs", "clipPath", "rect", "image"
    }  # fmt: skip
    shown = [text.text for text in root.iter(f"{ns}text")]
    expected = "".join(c if c.isprintable() else "\ufffd" for c in name.replace("\n", " "))
    expected = expected if len(expected) <= 60 else expected[:59] + "…"
    assert root.attrib["aria-label"] == expected
    assert (root[0].tag, root[0].text or "") == (f"{ns}title", expected)
    if expected:
        # Title, labels, tick and, with less room, legend.
        assert shown.count(expected) == (5 if len(expected) <= 40 else 4)
        assert sum(expected.startswith(text.rstrip("…")) for text in shown if text) == 5


def test_a_drawing_is_the_same_again_whatever_the_users_settings_and_has_ids_of_its_own():
    svg = drawn("lithology")
    with rc_context({"font.size": 30, "axes.grid": True, "svg.fonttype": "path"}):
        assert drawn("lithology") == svg
    assert "<style" not in svg
    first, second = (set(re.findall(r' id="([^"]+)"', text)) for text in (svg, drawn("b")))
    assert first
    assert not first & second
    for target in re.findall(r'(?:href="|url\()#([^")]+)', svg):
        assert svg.count(f' id="{target}"') == 1


def test_a_home_that_cannot_be_written_breaks_no_report(tmp_path):
    home = tmp_path / "home"
    home.write_text("a file, so that no folder can be made below it")
    environment = {**os.environ, "HOME": str(home), "XDG_CACHE_HOME": str(home / "cache"),
                   "XDG_CONFIG_HOME": str(home / "config")}  # fmt: skip
    environment.pop("MPLCONFIGDIR", None)
    code = (
        "from variolite.report.style import *\n"
        "with figure_style(): f = new_figure(50); axes_at(f, 9, 9, 9, 9); print(to_svg(f, 't')[:4])"
    )
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code], env=environment, capture_output=True, text=True
    )
    assert (done.stdout, done.stderr) == ("<svg\n", "")
