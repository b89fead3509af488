"""Categories stay apart for every kind of colour vision, and text is legible on any colour."""

from itertools import combinations

import numpy as np
import pytest

from variolite.report.palette import (
    CATEGORIES,
    DIVERGING,
    OKABE_ITO,
    OTHER,
    SEQUENTIAL,
    SHADE,
    blend,
    ink_on,
)

# Machado, Oliveira and Fernandes (2009), severity 1; rows of linear RGB.
VISION = {
    "normal": np.eye(3),
    "protanopia": np.array(
        [
            [0.152286, 1.052583, -0.204868],
            [0.114503, 0.786281, 0.099216],
            [-0.003882, -0.048116, 1.051998],
        ]
    ),
    "deuteranopia": np.array(
        [
            [0.367322, 0.860646, -0.227968],
            [0.280085, 0.672501, 0.047413],
            [-0.011820, 0.042940, 0.968881],
        ]
    ),
}


def linear(colour: str) -> np.ndarray:
    share = np.array([int(colour[i : i + 2], 16) for i in (1, 3, 5)]) / 255
    return np.where(share <= 0.04045, share / 12.92, ((share + 0.055) / 1.055) ** 2.4)


def oklab(colour: str, vision: str) -> np.ndarray:
    """Return Oklab coordinates (B. Ottosson, 2020) of a colour as it is seen."""
    seen = np.clip(VISION[vision] @ linear(colour), 0, 1)
    cones = np.array(
        [
            [0.4122214708, 0.5363325363, 0.0514459929],
            [0.2119034982, 0.6806995451, 0.1073969566],
            [0.0883024619, 0.2817188376, 0.6299787005],
        ]
    )
    to_lab = np.array(
        [
            [0.2104542553, 0.7936177850, -0.0040720468],
            [1.9779984951, -2.4285922050, 0.4505937099],
            [0.0259040371, 0.7827717662, -0.8086757660],
        ]
    )
    return to_lab @ np.cbrt(cones @ seen)


def closest(colours: tuple[str, ...], vision: str) -> float:
    return min(
        float(np.linalg.norm(oklab(a, vision) - oklab(b, vision)))
        for a, b in combinations(colours, 2)
    )


@pytest.mark.parametrize("vision", VISION)
def test_the_extension_is_as_safe_as_okabe_and_ito(vision: str) -> None:
    worst = min(closest(OKABE_ITO, v) for v in VISION)
    assert closest(CATEGORIES, vision) >= worst - 1e-9
    assert worst > 0.07


def test_categories_stand_out_from_paper_and_from_rows_without_one() -> None:
    for ground in ("#ffffff", SHADE):
        for colour in CATEGORIES:
            assert np.linalg.norm(oklab(colour, "normal") - oklab(ground, "normal")) > 0.1
    assert OTHER not in CATEGORIES


def contrast(a: str, b: str) -> float:
    light, dark = sorted(
        (float(np.dot([0.2126, 0.7152, 0.0722], linear(c))) for c in (a, b)), reverse=True
    )
    return (light + 0.05) / (dark + 0.05)


def test_letters_on_any_colour_have_the_contrast_wcag_asks_for() -> None:
    for share in np.linspace(0, 1, 101):
        for ramp in (SEQUENTIAL, DIVERGING):
            colour = blend(ramp, float(share))
            assert contrast(colour, ink_on(colour)) >= 4.0, colour
    for colour in CATEGORIES:
        assert contrast(colour, ink_on(colour)) >= 4.0


def test_ramps_run_one_way_in_lightness() -> None:
    lightness = [oklab(blend(SEQUENTIAL, s), "normal")[0] for s in np.linspace(0, 1, 60)]
    assert (np.diff(lightness) < 0).all()
    diverging = [oklab(blend(DIVERGING, s), "normal")[0] for s in np.linspace(0, 1, 61)]
    assert (np.diff(diverging[:31]) > 0).all()
    assert (np.diff(diverging[30:]) < 0).all()


def test_blend_holds_its_ends_and_clips() -> None:
    assert blend(SEQUENTIAL, 0) == SEQUENTIAL[0]
    assert blend(SEQUENTIAL, 1) == SEQUENTIAL[-1]
    assert blend(SEQUENTIAL, -3) == SEQUENTIAL[0]
    assert blend(("#000000", "#ffffff"), 0.5) == "#808080"
