"""Examples in the documents and docstrings are carried out; commands in them exist."""

import ast
import doctest
import importlib
import re
import shlex
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import typer

ROOT = Path(__file__).parents[1]
PAGES = sorted([ROOT / "README.md", *(ROOT / "docs").glob("*.md")])
OPTIONS = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE

EXAMPLES = re.compile(r"^```pycon\n(.*?)^```$", re.MULTILINE | re.DOTALL)
SCRIPTS = re.compile(r"^```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)
COMMANDS = re.compile(r"^ {4}(variolite (?:[^\n]|\\\n)*?)$(?<!\\)", re.MULTILINE)


def name_of(page):
    return str(page.relative_to(ROOT))


def modules_with_examples():
    source = ROOT / "src"
    found = []
    for path in sorted(source.rglob("*.py")):
        if ">>> " in path.read_text(encoding="utf-8"):
            parts = path.relative_to(source).with_suffix("").parts
            found.append(".".join(part for part in parts if part != "__init__"))
    return found


def run_examples(test):
    """Run one page or docstring; every failure is shown, not only the first."""
    report: list[str] = []
    runner = doctest.DocTestRunner(optionflags=OPTIONS)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        result = runner.run(test, out=report.append)
    assert result.attempted > 0
    assert not result.failed, "".join(report)


@pytest.fixture
def wells(tmp_path, monkeypatch):
    """Put the table that pages call wells.csv into an empty working folder."""
    rng = np.random.default_rng(0)
    sand = np.repeat(rng.random(60) < 0.4, 5)
    frame = pl.DataFrame(
        {
            "WELL": [f"W{i // 30}" for i in range(300)],
            "DEPT": np.tile(np.arange(30) * 0.5 + 100.0, 10),
            "GR": np.exp(np.where(sand, 3.4, 4.6) + rng.normal(0, 0.2, 300)).round(2),
            "RHOB": (np.where(sand, 2.3, 2.5) + rng.normal(0, 0.05, 300)).round(3),
            "NPHI": (np.where(sand, 0.2, 0.35) + rng.normal(0, 0.03, 300)).round(3),
        }
    )
    frame.write_csv(tmp_path / "wells.csv")
    monkeypatch.chdir(tmp_path)


@pytest.mark.usefixtures("wells")
@pytest.mark.parametrize(
    "page", [page for page in PAGES if EXAMPLES.search(page.read_text())], ids=name_of
)
def test_examples_of_a_page(page):
    text = page.read_text(encoding="utf-8")
    # Blank lines in place of the prose keep the line numbers of failures right.
    kept = ["\n"] * (text.count("\n") + 1)
    for found in EXAMPLES.finditer(text):
        first = text.count("\n", 0, found.start(1))
        kept[first : first + found.group(1).count("\n")] = found.group(1).splitlines(keepends=True)
    test = doctest.DocTestParser().get_doctest("".join(kept), {}, name_of(page), str(page), 0)
    run_examples(test)


@pytest.mark.usefixtures("wells")
@pytest.mark.parametrize("module", modules_with_examples())
def test_examples_of_docstrings(module):
    tests = doctest.DocTestFinder().find(importlib.import_module(module))
    with_examples = [test for test in tests if test.examples]
    assert with_examples
    for test in with_examples:
        run_examples(test)


def commands(page):
    text = page.read_text(encoding="utf-8")
    return [found.replace("\\\n", " ") for found in COMMANDS.findall(text)]


@pytest.mark.parametrize("page", [page for page in PAGES if commands(page)], ids=name_of)
def test_commands_of_a_page_exist(page):
    from variolite.cli.app import app

    for line in commands(page):
        words = shlex.split(line)[1:]
        command: Any = typer.main.get_command(app)
        while words and words[0] in getattr(command, "commands", {}):
            command = command.commands[words.pop(0)]
        if "show" in getattr(command, "commands", {}):
            command = command.commands["show"]  # a group that shows when nothing else is said
        assert not hasattr(command, "commands"), f"{line}: no such command"
        context = command.make_context("variolite", words, resilient_parsing=False)
        assert context.params, line


def test_local_links_lead_somewhere():
    for page in PAGES:
        text = re.sub(r"```.*?```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL)
        for target in re.findall(r"(?<!!)\[[^\]]*\]\(([^)#]+)[^)]*\)", text):
            if "://" not in target:
                assert (page.parent / target).exists(), f"{name_of(page)}: {target}"


def test_yaml_of_the_pages_is_what_it_says(tmp_path):
    from variolite import Schema, load_recipe
    from variolite.crystals.recipe import import_source, load_crystal_recipe

    recipes = (ROOT / "docs" / "recipes.md").read_text()
    tables, crystals, source = re.findall(r"```yaml\n(.*?)```", recipes, re.DOTALL)
    (tmp_path / "mine.yaml").write_text(tables)
    assert load_recipe(tmp_path / "mine.yaml").model.likelihood == "student_t"
    (tmp_path / "crystals.yaml").write_text(crystals)
    assert load_crystal_recipe(tmp_path / "crystals.yaml").split.by == "prototype"
    (tmp_path / "vae.yaml").write_text(source)
    imported = import_source([tmp_path / "vae.yaml"], "mine")
    assert imported.content["model"]["latent"] == 8
    assert [left.path for left in imported.left] == ["augmentation.translate"]
    schemas = (ROOT / "docs" / "schema.md").read_text()
    schema = Schema.from_yaml(re.findall(r"```yaml\n(.*?)```", schemas, re.DOTALL)[0])
    assert [column.name for column in schema.inputs] == ["bulk_density", "gamma_ray"]


def test_every_key_of_a_schema_and_a_recipe_is_explained():
    from variolite.crystals.recipe import (
        CrystalArchitecture,
        CrystalRecipe,
        CrystalSplitSpec,
        LossWeights,
        PriorSpec,
    )
    from variolite.recipe import ClusteringSpec, ModelSpec, PlateauSpec, SplitSpec, TrainingSpec
    from variolite.records import TRANSFORMS, Column

    schemas = (ROOT / "docs" / "schema.md").read_text()
    for key in [*Column.model_fields, *TRANSFORMS]:
        assert key == "name" or f"`{key}`" in schemas, key
    recipes = (ROOT / "docs" / "recipes.md").read_text()
    of_tables, of_crystals = recipes.split("## Recipes for crystals")
    tables = (SplitSpec, ModelSpec, TrainingSpec, ClusteringSpec)
    parts = (CrystalSplitSpec, CrystalArchitecture, LossWeights, PriorSpec)
    for page, specs in ((of_tables, tables), (of_crystals, (CrystalRecipe, *parts))):
        for spec in specs:
            for key in spec.model_fields:
                # A section explains the keys that stand below it.
                explained = f"`{key}`" in page or f"### {key}" in page
                assert explained, f"{spec.__name__}.{key}"
    assert all(key in of_tables for key in PlateauSpec.model_fields)


def test_packaged_recipes_for_crystals_are_listed():
    from variolite.recipe import packaged_recipes

    recipes = (ROOT / "docs" / "recipes.md").read_text()
    for name in packaged_recipes():
        assert not name.startswith("crystals/") or f"`{name}`" in recipes, name


def test_examples_are_python():
    for page in PAGES:
        for block in EXAMPLES.findall(page.read_text(encoding="utf-8")):
            for example in doctest.DocTestParser().get_examples(block):
                ast.parse(example.source)


def test_scripts_of_the_pages_import_what_there_is():
    """Scripts that take several machines are not run, but their names have to exist."""
    for page in PAGES:
        for block in SCRIPTS.findall(page.read_text(encoding="utf-8")):
            for node in ast.walk(ast.parse(block)):
                if isinstance(node, ast.ImportFrom) and str(node.module).startswith("variolite"):
                    with warnings.catch_warnings():
                        warnings.simplefilter("ignore")  # Lightning warns while it is imported
                        module = importlib.import_module(str(node.module))
                    for name in node.names:
                        assert hasattr(module, name.name), f"{name_of(page)}: {name.name}"
