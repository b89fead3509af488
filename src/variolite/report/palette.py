"""Colours that stay apart for readers with colour-vision deficiencies and in grey print.

Categories start with the eight colours of Okabe and Ito, *Color Universal
Design* (2008). The ten after them were chosen so that any two of the eighteen
differ by at least as much as the two closest of the first eight, in Oklab,
under full protanopia and deuteranopia (matrices of Machado et al. 2009,
doi:10.1109/TVCG.2009.113).
"""

from __future__ import annotations

from collections.abc import Sequence

__all__ = [
    "ACCENT",
    "CATEGORIES",
    "DIVERGING",
    "FAINT",
    "GREY",
    "INK",
    "MUTED",
    "OTHER",
    "PAPER",
    "SECOND",
    "SEQUENTIAL",
    "SHADE",
    "blend",
    "ink_on",
]

INK = "#1a1a1a"
MUTED = "#5c6066"
GREY = "#8a8f96"
FAINT = "#dfe1e4"
ACCENT = "#0072B2"
SECOND = "#D55E00"

OKABE_ITO = (
    "#0072B2",
    "#E69F00",
    "#009E73",
    "#D55E00",
    "#56B4E9",
    "#CC79A7",
    "#F0E442",
    "#000000",
)
EXTENSION = (
    "#78000F",
    "#003C78",
    "#A5B487",
    "#A53C1E",
    "#5A87E1",
    "#3C6969",
    "#D2D287",
    "#2D4BA5",
    "#004B4B",
    "#69E1FF",
)
CATEGORIES = OKABE_ITO + EXTENSION
OTHER = "#b9bcc0"
PAPER = "#ffffff"
SHADE = "#ececec"

# Light to dark, so that nothing much stays near the white of the paper; the path is cividis'.
SEQUENTIAL = ("#fffbe6", "#ecd98a", "#c3b369", "#8f8a78", "#5f6a76", "#2f4a74", "#00224e")
DIVERGING = ("#084a91", "#5b9bd0", "#c6dcee", "#f7f7f7", "#fbd9b0", "#ee9a45", "#a94a00")


def blend(ramp: Sequence[str], share: float) -> str:
    """Return the colour at ``share`` (0 to 1, clipped) of a ramp of hex colours."""
    place = min(max(share, 0.0), 1.0) * (len(ramp) - 1)
    below = min(int(place), len(ramp) - 2)
    part = place - below
    mixed = (
        round(low + (high - low) * part)
        for low, high in zip(_channels(ramp[below]), _channels(ramp[below + 1]), strict=True)
    )
    return "#" + "".join(f"{channel:02x}" for channel in mixed)


def ink_on(background: str) -> str:
    """Return black or white, whichever has the higher contrast on ``background`` (WCAG 2)."""
    return INK if _luminance(background) > 0.2 else "#ffffff"


def _channels(colour: str) -> tuple[int, int, int]:
    return int(colour[1:3], 16), int(colour[3:5], 16), int(colour[5:7], 16)


def _luminance(colour: str) -> float:
    linear = (
        share / 12.92 if share <= 0.04045 else ((share + 0.055) / 1.055) ** 2.4
        for share in (channel / 255 for channel in _channels(colour))
    )
    return sum(
        weight * channel for weight, channel in zip((0.2126, 0.7152, 0.0722), linear, strict=True)
    )
