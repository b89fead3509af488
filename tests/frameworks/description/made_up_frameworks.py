"""Small frameworks, and files that are none, for the tests of describe."""

from pathlib import Path

_HEAD = """data_{name}
_cell_length_a {a}
_cell_length_b {a}
_cell_length_c {a}
_cell_angle_alpha 90
_cell_angle_beta 90
_cell_angle_gamma 90
{symmetry}
loop_
_atom_site_label
_atom_site_type_symbol
_atom_site_fract_x
_atom_site_fract_y
_atom_site_fract_z
{more}
"""
_ONE = "loop_\n_symmetry_equiv_pos_as_xyz\n'x, y, z'"


def cif(name, a, sites, *, symmetry=_ONE, more=""):
    lines = [f"{symbol}{i} {symbol} {rest}" for i, (symbol, rest) in enumerate(sites)]
    return _HEAD.format(name=name, a=a, symmetry=symmetry, more=more) + "\n".join(lines) + "\n"


MOF_5 = cif(
    "MOF-5",
    25.832,
    [
        ("Zn", ".2066 .2066 .2066"),
        ("O", ".25 .25 .25"),
        ("O", ".2181 .134 .2181"),
        ("C", ".25 .1113 .25"),
        ("C", ".25 .0538 .25"),
        ("C", ".2171 .0269 .2171"),
        ("H", ".1951 .0448 .1951"),
    ],
    symmetry="_symmetry_space_group_name_H-M 'F m -3 m'",
)
"""Zinc terephthalate on the net pcu, as published."""

BAD = {
    "broken.cif": "data_x\nloop_\n_atom_site_label\nthis is no CIF",
    "empty.cif": "",
    "disordered.cif": cif(
        "d", 10.0, [("Zn", "0 0 0 .5"), ("O", ".5 .5 .5 1")], more="_atom_site_occupancy"
    ),
    "without_symmetry.cif": MOF_5.replace("'F m -3 m'", "?"),
    "overlapping.cif": cif("o", 5.0, [("Zn", "0 0 0"), ("O", ".01 .01 .01")]),
}


def write_frameworks(folder: Path) -> Path:
    """Write MOF-5, a molecule in a box, and files that cannot be read."""
    folder.mkdir()
    (folder / "MOF-5.cif").write_text(MOF_5)
    water = [("O", ".5 .5 .5"), ("H", ".595 .5 .5"), ("H", ".48 .594 .5")]
    (folder / "water.cif").write_text(cif("water", 9.0, water))
    for name, text in BAD.items():
        (folder / name).write_text(text)
    return folder
