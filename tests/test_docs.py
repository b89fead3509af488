"""Examples in the documents and docstrings are carried out; commands in them exist."""

import ast
import doctest
import importlib
import re
import shlex
import warnings
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import typer

ROOT = Path(__file__).parents[1]
PAGES = sorted([ROOT / "README.md", *(ROOT / "docs").glob("*.md")])
OPTIONS = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE

EXAMPLES = re.compile(r"^```(?:pycon|console)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
SCRIPTS = re.compile(r"^```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)
COMMANDS = re.compile(r"^ {4}(variolite (?:[^\n]|\\\n)*?)$(?<!\\)", re.MULTILINE)


def name_of(page):
    return str(page.relative_to(ROOT))


def with_a_match(pattern):
    return [page for page in PAGES if pattern.search(page.read_text(encoding="utf-8"))]


def modules_with_examples():
    source = ROOT / "src"
    found = [path for path in source.rglob("*.py") if ">>> " in path.read_text(encoding="utf-8")]
    names = (".".join(path.relative_to(source).with_suffix("").parts) for path in found)
    return sorted(name.removesuffix(".__init__") for name in names)


def run_examples(test):
    """Run one page or docstring; every failure is shown, not only the first."""
    report = []
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        result = doctest.DocTestRunner(optionflags=OPTIONS).run(test, out=report.append)
    assert result.attempted > 0
    assert not result.failed, "".join(report)


def console(line):
    """Turn a line of a console into an example that runs the command; any other stays."""
    return re.sub(r"^\$ variolite (.*)$", lambda found: f">>> run({found[1]!r})", line)


def run_command(line):
    """Run the program as a console would; what it prints is the output of the example."""
    from variolite.cli import main

    with pytest.MonkeyPatch.context() as patch, warnings.catch_warnings(action="ignore"):
        patch.setattr("sys.argv", ["variolite", *shlex.split(line)])
        with pytest.raises(SystemExit) as end:
            main()
    assert not end.value.code, line


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
@pytest.mark.parametrize("page", with_a_match(EXAMPLES), ids=name_of)
def test_examples_of_a_page(page):
    text = page.read_text(encoding="utf-8")
    # Blank lines in place of the prose keep the line numbers of failures right.
    kept = ["\n"] * (text.count("\n") + 1)
    for found in EXAMPLES.finditer(text):
        first = text.count("\n", 0, found.start(1))
        lines = [console(line) for line in found.group(1).splitlines()]
        kept[first : first + len(lines)] = [f"{line}\n" for line in lines]
    names = {"run": run_command}
    test = doctest.DocTestParser().get_doctest("".join(kept), names, name_of(page), str(page), 0)
    run_examples(test)


@pytest.mark.usefixtures("wells")
@pytest.mark.parametrize("module", modules_with_examples())
def test_examples_of_docstrings(module):
    tests = doctest.DocTestFinder().find(importlib.import_module(module))
    with_examples = [test for test in tests if test.examples]
    assert with_examples
    for test in with_examples:
        run_examples(test)


@pytest.mark.parametrize("page", with_a_match(COMMANDS), ids=name_of)
def test_commands_of_a_page_exist(page):
    from variolite.cli.app import app

    for line in COMMANDS.findall(page.read_text(encoding="utf-8")):
        words = shlex.split(line.replace("\\\n", " "))[1:]
        command = typer.main.get_command(app)
        while words and words[0] in getattr(command, "commands", {}):
            command = command.commands[words.pop(0)]
        if default := getattr(command, "default", None):
            command = command.commands[default]
        assert not hasattr(command, "commands"), f"{line}: no such command"
        context = command.make_context("variolite", words, resilient_parsing=False)
        assert context.params, line


def test_local_links_lead_somewhere():
    for page in PAGES:
        text = re.sub(r"```.*?```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL)
        for target in re.findall(r"(?<!!)\[[^\]]*\]\(([^)#]+)[^)]*\)", text):
            if "://" not in target:
                assert (page.parent / target).exists(), f"{name_of(page)}: {target}"


def yaml_of(name):
    return re.findall(r"```yaml\n(.*?)```", (ROOT / "docs" / name).read_text(), re.DOTALL)


def test_yaml_of_the_pages_is_what_it_says(tmp_path):
    from variolite import Schema, load_recipe
    from variolite.crystals.recipe import import_source, load_crystal_recipe

    def load(text, read):
        (tmp_path / "mine.yaml").write_text(text)
        return read(tmp_path / "mine.yaml")

    tables, crystals, source = yaml_of("recipes.md")
    assert load(tables, load_recipe).model.likelihood == "student_t"
    assert load(crystals, load_crystal_recipe).split.by == "prototype"
    imported = load(source, lambda path: import_source([path], "mine"))
    assert imported.content["model"]["latent"] == 8
    assert [left.path for left in imported.left] == ["augmentation.translate"]
    schema = Schema.from_yaml(yaml_of("schema.md")[0])
    assert [column.name for column in schema.inputs] == ["bulk_density", "gamma_ray"]


def test_every_key_of_a_schema_and_every_recipe_is_explained():
    from variolite import recipe as tabular
    from variolite.crystals import recipe as crystals
    from variolite.records import TRANSFORMS, Column

    schemas, recipes = ((ROOT / "docs" / f"{n}.md").read_text() for n in ("schema", "recipes"))
    for key in [*Column.model_fields, *TRANSFORMS]:
        assert key == "name" or f"`{key}`" in schemas, key
    of_tables, of_crystals = recipes.split("## Recipes for crystals")
    tables = (tabular.SplitSpec, tabular.ModelSpec, tabular.TrainingSpec, tabular.ClusteringSpec)
    parts = (crystals.CrystalSplitSpec, crystals.CrystalArchitecture)
    parts += (crystals.CrystalRecipe, crystals.LossWeights, crystals.PriorSpec)
    for page, specs in ((of_tables, tables), (of_crystals, parts)):
        for spec in specs:
            for key in spec.model_fields:
                # A section explains the keys that stand below it.
                explained = f"`{key}`" in page or f"### {key}" in page
                assert explained, f"{spec.__name__}.{key}"
    assert all(key in of_tables for key in tabular.PlateauSpec.model_fields)
    for name in tabular.packaged_recipes():
        assert not name.startswith("crystals/") or f"`{name}`" in recipes, name


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
