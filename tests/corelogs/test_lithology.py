from pathlib import Path

import numpy as np
import polars as pl
import pytest

from variolite.arguments import parse_mapping
from variolite.corelogs import LevelChooser, bin_tables
from variolite.corelogs.lithology import LabelLevel, label_level, label_levels, read_label_level
from variolite.corelogs.simulate import lithologies
from variolite.errors import VarioliteError

GROUPS = {
    "Biogenic Silica", "Carbonate", "Clay/Mud", "Conglomerate/Breccia", "Diamict", "Evaporite",
    "Intermediate/Felsic Igneous", "Mafic Igneous", "Metamorphic", "Other", "Sand", "Silt",
    "Ultramafic", "Volcaniclastic",
}  # fmt: skip


NAMED = {
    "Diamict": ("clast-poor sandy diamict", "clast-rich muddy diamict", "debris flow"),
    "Sand": ("silty sand", "silty sandstone", "clayey sand"),
    "Silt": ("clayey silt",),
    "Clay/Mud": ("nannofossil clay", "nannofossil mud"),
    "Carbonate": ("nannofossil ooze", "dolostone", "Nannofossil  Ooze "),
    "Mafic Igneous": ("lava", "volcanic rock"),
    "Metamorphic": ("metaclaystone",),
    "Volcaniclastic": ("hyaloclastite",),
}


def test_the_last_word_decides_the_group_of_139_names_in_14_groups():
    level = label_levels()["lithology_group"]
    for group, names in NAMED.items():
        assert {level.group_of(name) for name in names} == {group}
    assert len(level.groups) == 139
    assert set(level.groups.values()) == GROUPS
    assert set(level.heads.values()) <= GROUPS
    alone = LabelLevel("heads", {}, level.heads)
    assert not {n for n, g in level.groups.items() if alone.group_of(n) not in (None, g)}
    assert level.unmapped(lithologies()["name"]) == ()


def test_names_that_are_not_listed_go_by_their_last_word_and_are_reported():
    level = label_levels()["lithology_group"]
    names = ["glauconitic sandstone", "clay", "vitric tuff", "sapropel", "clay and sand", None, ""]
    groups = ["Sand", "Clay/Mud", "Volcaniclastic", None, None, None, None]
    assert level.apply(pl.Series(names)).to_list() == groups
    assert level.guessed(names) == ("glauconitic sandstone", "vitric tuff")
    assert level.unmapped(names) == ("clay and sand", "sapropel")


def test_all_published_names_are_grouped_and_few_differ_from_the_keyword_table(shared_data):
    folder = shared_data / "corelogs" / "lily"
    names = pl.read_csv(folder / "lithology_class_distribution.csv")["Lithology"]
    keyword = pl.read_csv(folder / "lithology_hierarchy_mapping.csv")
    level = label_levels()["lithology_group"]
    assert set(names) == set(level.groups)
    ours = level.apply(keyword["Principal_Lithology"])
    assert set(ours) == set(keyword["Lithology_Group"]) == GROUPS
    changed = keyword.filter(ours != keyword["Lithology_Group"])
    assert changed.height == 26
    assert changed["Count"].sum() == 16_132
    assert keyword.filter(ours == "Diamict")["Count"].sum() == 2_937 + 66


def test_wireline_codes_have_names_as_numbers_and_as_text():
    level = label_levels()["force_lithology"]
    assert len(level.groups) == len(set(level.groups.values())) == 12
    expected = ["Shale", "Sandstone/Shale", None]
    assert level.apply(pl.Series([65000, 65030, None])).to_list() == expected
    assert level.apply(pl.Series([65000.0, 65030.0, None])).to_list() == expected
    assert level.apply(pl.Series(["65000", "65030.0", "65000.5"])).to_list() == expected
    assert set(label_levels()["force_group"].groups) == set(level.groups)
    codes = pl.Series(range(1, 10))
    assert label_levels()["kgs_facies"].apply(codes).n_unique() == 9
    environments = ["Nonmarine"] * 3 + ["Marine clastic"] + ["Carbonate"] * 5
    assert label_levels()["kgs_environment"].apply(codes).to_list() == environments


def test_real_wireline_labels_are_all_named(shared_data):
    path = shared_data / "corelogs" / "force2020" / "wells.parquet"
    force = pl.read_parquet(path, columns=["FORCE_2020_LITHOFACIES_LITHOLOGY"]).to_series()
    assert label_levels()["force_lithology"].apply(force).n_unique() == 11
    kgs = pl.read_csv(shared_data / "corelogs" / "kgs_panoma" / "panoma_wells.csv")["Facies"]
    assert label_levels()["kgs_facies"].apply(kgs).n_unique() == 9


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("mine.csv", "name,group,rows\nclay,Fine,3\nsand,Coarse,4\n"),
        ("mine.yaml", "clay: Fine\nsand: Coarse\n"),
        ("mine.yml", "Fine: [clay]\nCoarse: [sand]\n"),
        ("mine.yaml", "level: mine\ngroups:\n  Fine: [clay]\n  Coarse: [sand]\n"),
    ],
)
def test_a_level_of_ones_own_is_read(tmp_path, name, content):
    path = tmp_path / name
    path.write_text(content)
    level = read_label_level(path)
    assert level.name == "mine"
    assert level.apply(pl.Series(["clay", "SAND", "ash"])).to_list() == ["Fine", "Coarse", None]
    assert label_level(path) == label_level(str(path)) == level


@pytest.mark.parametrize(
    ("name", "content", "what"),
    [
        ("a.csv", "name,group\nclay,A\nClay,B\n", "stands in two groups"),
        ("a.csv", "name\nclay\n", "fewer than two columns"),
        ("a.yaml", "", "holds no mapping"),
        ("a.yaml", "[1, 2]", "holds no mapping"),
        ("a.yaml", "a: {b: c}", "stands for no group"),
        ("a.yaml", "a: [b", "not valid YAML"),
        ("a.yaml", "groups: {A: [a]}\nhead: {}", "unknown key 'head'"),
        ("a.yaml", "groups: {}", "maps nothing"),
        ("a.yaml", "groups: {A: [a]}\nheads: [a]", "holds no mapping"),
    ],
)
def test_a_bad_mapping_gives_one_clear_error(tmp_path, name, content, what):
    path = tmp_path / name
    path.write_text(content)
    with pytest.raises(VarioliteError, match=what) as caught:
        read_label_level(path)
    assert name in str(caught.value)


def test_levels_become_columns_of_the_binned_table(tmp_path):
    table = tmp_path / "g.csv"
    rows = ["Exp,Site,Hole,Depth CSF-A (m),Bulk density (GRA),Principal"]
    rows += [f"318,U1355,A,{len(name)}.0,1.5,{name}" for name in ("clay", "vitric tuff")]
    table.write_text("\n".join([*rows, "318,U1355,A,20.0,1.5,sapropel", ""]))
    mine = tmp_path / "grain.yaml"
    mine.write_text("fine: [clay, sapropel]\n")
    binned = bin_tables([table], levels=["lithology_group", mine])
    assert binned.table["lithology_group"].to_list() == ["Clay/Mud", "Volcaniclastic", None]
    assert binned.table["grain"].to_list() == ["fine", None, "fine"]
    assert binned.report.guessed == {"lithology_group": ("vitric tuff",)}
    assert binned.report.unmapped == {"lithology_group": ("sapropel",), "grain": ("vitric tuff",)}
    assert any("in no group: sapropel" in line for line in binned.report.lines())
    assert "lithology_group" not in bin_tables([table], levels=[]).table.columns
    refused = {
        "kgs_faces": "Did you mean 'kgs_facies'",
        mine.with_name("no.yaml"): "cannot be read",
    }
    for level, what in (*refused.items(), (LabelLevel("depth", {}), "may not be called 'depth'")):
        with pytest.raises(VarioliteError, match=what):
            bin_tables([table], levels=[level])


def test_codes_are_replaced_by_names_and_joined_by_groups_once_for_all():
    chooser = LevelChooser()
    levels = chooser({"lithology": np.array(["65000", "30000", "70032", "", "65000"])})
    assert set(levels) == {"force_lithology", "force_group"}
    assert levels["force_lithology"].tolist() == ["Shale", "Sandstone", "Chalk", "", "Shale"]
    assert levels["force_group"][0] == levels["force_group"][1] != levels["force_group"][2]
    assert set(chooser({"lithology": np.array(["", ""])})) == set(levels)


def test_codes_of_ones_own_are_no_panoma_key_unless_named():
    codes = {"lithology": np.array(["3", "7", "1", "9"])}
    for columns in ((), ("Facies", "GR", "RHOB", "NPHI")):
        chooser = LevelChooser(columns=columns)
        levels = chooser(codes)
        assert list(levels) == ["lithology"]
        assert levels["lithology"] is codes["lithology"]
        assert chooser.lines() == []
    panoma = LevelChooser(columns=("Well Name", "Facies", "GR", "ILD", "DeltaPHI", "PHIND", "PE"))
    assert list(panoma(codes)) == ["kgs_facies", "kgs_environment"]
    assert panoma.lines()[0] == "labels by the key kgs_facies: Facies of the Panoma field by name"
    # As the option gives it.
    assert list(LevelChooser([Path("kgs_facies")])(codes)) == ["kgs_facies"]


def test_names_stay_beside_their_groups_and_unknown_labels_have_one_level(tmp_path):
    names = np.array(["nannofossil ooze", "clay", "silty clay", "basalt"])
    levels = LevelChooser()({"lithology": names})
    assert levels["lithology"] is names
    assert len(set(levels["lithology_group"][1:3])) == 1
    assert LevelChooser()({}) == {}
    unknown = {"facies": np.array(["alpha", "beta"])}
    assert set(LevelChooser()(unknown)) == {"facies"}
    # A level of one's own is used whatever it covers.
    file = tmp_path / "mine.yaml"
    file.write_text("coarse: [alpha]\n")
    levels = LevelChooser([file])(unknown)
    assert levels["mine"].tolist() == ["coarse", ""]
    assert levels["facies"].tolist() == ["alpha", "beta"]


BOMB = "a: &a [x, x]\n" + "".join(
    f"{new}: &{new} [{', '.join([f'*{old}'] * 9)}]\n"
    for old, new in zip("abcdefgh", "bcdefghi", strict=True)
)


@pytest.mark.parametrize("read", [read_label_level, lambda path: parse_mapping([str(path)])])
@pytest.mark.parametrize(
    ("text", "says"),
    [
        (BOMB, "aliases expand to more than 100,000 values"),
        ("a: &a [*a]", "aliases expand"),
        ("a: 2020-13-45", "a value does not suit its type"),
        ("a: !!bool x", "a value does not suit its type"),
        ("a: " + "[" * 5000, "nested too deeply"),
        ("a: " + '"' * 1_000_000, "not valid YAML"),
        ("a: " + "b" * 2_000_000, "too many for a file of settings"),
        ("yes: b", "the name 'yes' reads as True"),
        ("a: [[b]]", "not a mapping of meanings|'a' stands for no group"),
        ("- a", "not a mapping of meanings|holds no mapping"),
    ],
)
def test_yaml_of_users_is_guarded_as_recipes_are(read, text, says, tmp_path):
    path = tmp_path / "given.yaml"
    path.write_text(text)
    with pytest.raises(VarioliteError, match=says) as caught:
        read(path)
    assert str(path) in str(caught.value)
    with pytest.raises(VarioliteError, match="cannot be read"):
        read(tmp_path / "missing.yaml")
