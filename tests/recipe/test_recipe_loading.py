"""Extending, overriding, taking columns away, and every way to get it wrong."""

import contextlib

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from variolite.crystals.recipe import load_crystal_recipe
from variolite.errors import RecipeError
from variolite.recipe import ConstantBeta, CyclicalBeta, LinearBeta, load_recipe, recipe_to_yaml

SMALL = "columns: {density: , gamma: {unit: gAPI}}\n"


def _write(folder, text, name="mine.yaml"):
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return path


def test_a_file_extends_a_packaged_recipe(tmp_path):
    text = "title: Mine\nmodel: {latent: 3}\ntraining: {beta: {epochs: 7}}\n"
    path = _write(tmp_path, f"extends: corelogs/v2_6\n{text}")
    recipe, parent = load_recipe(path), load_recipe("corelogs/v2_6")
    assert (recipe.name, recipe.title) == ("mine", "Mine")
    assert recipe.model == parent.model.model_copy(update={"latent": 3})
    assert recipe.training.beta == LinearBeta(start=0.002, end=1.0, epochs=7)
    assert recipe.columns == parent.columns


def test_a_file_extends_its_neighbour_from_any_working_folder(tmp_path, monkeypatch):
    (tmp_path / "sub").mkdir()
    _write(tmp_path, SMALL, "below.yaml")
    path = _write(tmp_path / "sub", "extends: ../below.yaml\nmodel: {latent: 2}\n")
    monkeypatch.chdir("/")
    recipe = load_recipe(path)
    assert recipe.model.latent == 2
    assert list(recipe.columns) == ["density", "gamma"]
    assert recipe.name == "mine"
    own = _write(tmp_path, f"name: corelogs/v1\n{SMALL}")
    assert load_recipe(own).name == "corelogs/v1"


def test_null_takes_a_column_away(tmp_path):
    path = _write(tmp_path, "extends: corelogs/v1\ncolumns: {natural_gamma: null}\n")
    before, after = load_recipe("corelogs/v1"), load_recipe(path)
    assert set(before.columns) - set(after.columns) == {"natural_gamma"}
    same = load_recipe("corelogs/v1", ["columns.natural_gamma=null"])
    assert same.columns == after.columns


def test_a_column_without_settings_stays_when_something_is_overridden(tmp_path):
    path = _write(tmp_path, SMALL)
    assert list(load_recipe(path).columns) == ["density", "gamma"]
    assert list(load_recipe(path, ["training.epochs=30"]).columns) == ["density", "gamma"]
    changed = load_recipe(path, ["columns.density.unit=g/cm3"])
    assert changed.columns["density"].unit == "g/cm3"


def test_a_column_changed_in_part_keeps_the_rest(tmp_path):
    change = "columns: {gamma_ray: {kind: numeric, missing: mask}}\n"
    path = _write(tmp_path, f"extends: corelogs/v1\n{change}")
    before, after = load_recipe("corelogs/v1"), load_recipe(path)
    expected = before.columns["gamma_ray"].model_copy(update={"missing": "mask"})
    assert after.columns["gamma_ray"] == expected


def test_another_kind_of_schedule_replaces_the_old_one():
    for override, beta in {
        ".kind=cyclical": CyclicalBeta(),
        "={kind: linear, epochs: 3}": LinearBeta(start=0.002, end=1.0, epochs=3),
        "={kind: constant, value: 0.5}": ConstantBeta(value=0.5),
    }.items():
        recipe = load_recipe("corelogs/v2_6", [f"training.beta{override}"])
        assert recipe.training.beta == beta


@pytest.mark.parametrize(
    ("override", "read"),
    [
        ("training.epochs=50", lambda r: r.training.epochs == 50),
        ("training.learning_rate=1e-3", lambda r: r.training.learning_rate == 1e-3),
        ("training.learning_rate=auto", lambda r: r.training.learning_rate == "auto"),
        ("training.batch_size=64", lambda r: r.training.batch_size == 64),
        ("training.patience=null", lambda r: r.training.patience is None),
        ("model.encoder=[64, 32]", lambda r: r.model.encoder == (64, 32)),
        ("model.encoder=[]", lambda r: r.model.encoder == ()),
        ("columns.gamma_ray.transform=log", lambda r: len(r.columns["gamma_ray"].transform) == 1),
        ("title=a = b", lambda r: r.title == "a = b"),
        ("clustering.k=[3]", lambda r: r.clustering.k == (3,)),
    ],
)
def test_overrides(override, read):
    assert read(load_recipe("corelogs/v2_1", [override]))


def test_overrides_apply_in_turn_and_leave_the_package_alone():
    recipe = load_recipe("corelogs/v1", ["model.latent=3", "model.latent=4", "model.norm=none"])
    assert (recipe.model.latent, recipe.model.norm) == (4, "none")
    assert load_recipe("corelogs/v1").model.latent == 8


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("training.epoch=50", r"unknown key 'training\.epoch'.*Did you mean epochs\?$"),
        ("trainig.epochs=50", r"unknown key 'trainig'.*Did you mean training\?$"),
        ("training.beta={kind: linear, epoch: 5}", r"'training\.beta\.epoch'.*mean epochs\?$"),
        ("training.plateau.pateince=5", r"'training\.plateau\.pateince'.*Did you mean patience\?$"),
        ("columns.gamma_ray.missin=mask", "Did you mean 'missing'"),
        ("training.epochs=many", r"training\.epochs: .*integer.*'many'"),
        ("training.epochs=2.5", r"training\.epochs: .*2\.5"),
        ("training.epochs=0", r"training\.epochs: .*greater than or equal to 1"),
        ("training.epochs=[5]", r"training\.epochs: "),
        ("training.batch_size=big", r"training\.batch_size: .*integer.*or .*'auto'"),
        ("training.learning_rate=.inf", r"training\.learning_rate: .*finite"),
        ("training.learning_rate=.nan", r"training\.learning_rate: .*finite"),
        ("training.gradient_clip=.inf", r"training\.gradient_clip: .*finite"),
        ("training.learning_rate=-1", r"training\.learning_rate: "),
        ("training.seed=-1", r"training\.seed: "),
        ("training.beta.kind=lineer", "must be one of constant, linear, sigmoid, cyclical"),
        ("training.beta=5", r"training\.beta: "),
        ("training=5", r"training: "),
        ("model.encoder=32", r"model\.encoder: "),
        ("model.encoder=[a]", r"model\.encoder\.0: "),
        ("model.sigma2=null", "sigma2 and variance: fixed go together"),
        ("model.variance=feature", "sigma2 and variance: fixed go together"),
        ("model.dropout=1.0", r"model\.dropout: "),
        ("split.test=1.5", r"split\.test: "),
        ("minimum_inputs=1000", "minimum_inputs is 1000"),
        ("columns=null", r"columns: "),
        ("extends=corelogs/v1", "unknown key 'extends'"),
        ("training.epochs", "key.subkey=value"),
        ("=5", "key.subkey=value"),
        ("training..epochs=5", r"unknown key 'training\.'"),
        ("training.epochs=[5", "not valid YAML"),
        ("title=2020-13-45", "not valid YAML"),
        # What would fail only after training fails at once.
        ("training.seed=99999999999999999999", "training.seed: .* less than 2147483648"),
        ("split.seed=-1", "split.seed"),
        ("clustering.k=[]", "clustering.k"),
        ("clustering.rule=bic", "bic needs a Gaussian mixture"),
    ],
)
def test_a_wrong_override_gets_one_clear_error(override, said):
    with pytest.raises(RecipeError, match=said) as caught:
        load_recipe("corelogs/v2_5", [override])
    assert "\n" not in str(caught.value)
    assert caught.value.where


@pytest.mark.parametrize(
    ("beta", "epochs", "fits"),
    [
        ("{kind: linear, epochs: 9}", 10, True),
        ("{kind: linear, epochs: 10}", 10, False),
        ("{kind: sigmoid, epochs: 10}", 10, False),
        ("{kind: cyclical, epochs: 5, cycles: 2}", 10, False),
        ("{kind: cyclical, epochs: 5, cycles: 2}", 11, True),
        ("{kind: constant}", 1, True),
    ],
)
def test_a_schedule_that_cannot_finish_is_refused(beta, epochs, fits):
    overrides = [f"training.beta={beta}", f"training={{epochs: {epochs}}}"]
    refusal = pytest.raises(RecipeError, match=r"never hold .* or shorten training\.beta")
    with contextlib.nullcontext() if fits else refusal:
        assert load_recipe("corelogs/v1", overrides).training.epochs == epochs


def test_recipes_that_extend_each_other_in_a_circle_are_refused(tmp_path):
    (tmp_path / "sub").mkdir()
    for name, parent in {"a": "b", "b": "./sub/../a", "own": "own"}.items():
        _write(tmp_path, f"extends: {parent}.yaml\n", f"{name}.yaml")
    for name in ("a", "own"):
        with pytest.raises(RecipeError, match="circle"):
            load_recipe(tmp_path / f"{name}.yaml")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "mapping"),
        ("[1, 2]", "mapping"),
        ("columns: 3", "columns"),
        ("columns: {}", "role 'input'"),
        ("columns: {x: 3}", r"columns\.x"),
        ("columns: {x: {role: group}}", "role 'input'"),
        ("columns: {x: {transform: lag}}", "Did you mean 'log'"),
        ("model: {latent: 3}", "columns"),
        ("1: 2\ncolumns: {x: }", "1"),
        ("extends: 3", "extends takes one name"),
        ("extends: corelogs/v1\ncolumns: {natural_gama: null}", "Did you mean natural_gamma"),
        ("extends: corelogs/defalt", r"Did you mean corelogs/default\?"),
        ("extends: missing.yaml", "cannot be read"),
        ("extend: corelogs/v1\ncolumns: {x: }", r"Did you mean extends\?"),
        ("a: [1", "not valid YAML"),
        ("a: 2020-13-45", "not valid YAML"),
        ("a: !!bool x", "not valid YAML"),
        ("a: !!int ''", "not valid YAML"),
        ("a: !!timestamp x", "not valid YAML"),
        (f"a: {'[' * 1500}", "not valid YAML"),
        ("columns: {x: }\nmodel: {latent: 3}\nmodel: {latent: 4}", "given twice"),
        ("a: \0", "not valid YAML"),
        ("columns: {x: }\ntraining: &t {beta: *t}", "aliases expand"),
    ],
)
def test_a_file_that_is_no_recipe_gets_one_clear_error(text, said, tmp_path):
    path = _write(tmp_path, text)
    with pytest.raises(RecipeError, match=said) as caught:
        load_recipe(path)
    assert "\n" not in str(caught.value)


def test_a_file_that_cannot_be_read_gets_one_clear_error(tmp_path):
    (tmp_path / "folder.yaml").mkdir()
    for name in ("absent.yaml", "folder.yaml"):
        with pytest.raises(RecipeError, match="cannot be read"):
            load_recipe(tmp_path / name)
    binary = tmp_path / "binary.yaml"
    binary.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(RecipeError, match="not UTF-8"):
        load_recipe(binary)


@pytest.mark.parametrize(
    "name", ["", "x", "corelogs", "corelogs/", "../recipes/corelogs/v1", "/v1"]
)
def test_an_unknown_name_lists_the_way_out(name):
    with pytest.raises(RecipeError, match="variolite recipes"):
        load_recipe(name)


def test_tags_run_nothing(tmp_path):
    trace = tmp_path / "trace"
    path = _write(tmp_path, f"title: !!python/object/apply:os.mkdir ['{trace}']\n{SMALL}")
    with pytest.raises(RecipeError, match="not valid YAML"):
        load_recipe(path)
    assert not trace.exists()


def test_a_bomb_of_aliases_is_refused_quickly(tmp_path):
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]" for i in range(1, 30)]
    path = _write(tmp_path, "\n".join([*lines, "columns: {x: {aliases: *a29}}\n"]))
    with pytest.raises(RecipeError, match="aliases expand to more than"):
        load_recipe(path)


def test_a_few_aliases_are_welcome(tmp_path):
    path = _write(tmp_path, "columns: {a: &a {unit: m}, b: *a, c: {<<: *a, missing: mask}}")
    columns = load_recipe(path, ["columns.a.missing=mask"]).columns
    assert {column.unit for column in columns.values()} == {"m"}
    assert [column.missing for column in columns.values()] == ["mask", "drop", "mask"]


KEYS = st.sampled_from(["name", "columns", "model", "training", "beta", "kind", "x", "extends"])
LEAVES = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5)
TREES = st.recursive(
    LEAVES, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=4)
)


PLACES = st.sampled_from(["model", "training", "columns.x", "split", "training.beta"])


@given(key=PLACES, tree=TREES, anything=st.text(max_size=60))
def test_no_value_and_no_text_end_in_a_traceback(key, tree, anything):
    text = yaml.safe_dump(tree, default_flow_style=True, width=10_000)
    for override in (f"{key}={text}", anything):
        with contextlib.suppress(RecipeError):
            load_recipe("corelogs/v1", [override])


def test_former_keys_are_read_and_a_later_layer_rules(tmp_path):
    former = "model: {kind: transformer, waves: 3}\nloss: {divergence: .2}\n"
    path = _write(tmp_path, f"extends: crystals/perov_5\n{former}")
    recipe = load_crystal_recipe(path)
    assert (recipe.model.fourier_features, recipe.loss.kl) == (3, 0.2)
    assert load_crystal_recipe(path, ["loss.kl=0.1"]).loss.kl == 0.1
    keys = ["loss.divergence=0.1", "model.waves=5"], ["loss.kl=0.1", "model.fourier_features=5"]
    former, today = (load_crystal_recipe(path, overrides) for overrides in keys)
    assert former == today
    assert load_crystal_recipe(_write(tmp_path, recipe_to_yaml(recipe))) == recipe
    with pytest.raises(RecipeError, match=r"unknown key 'loss\.divergence'"):
        load_crystal_recipe(_write(tmp_path, "kind: crystals\nloss: {kl: 1, divergence: 2}\n"))
    with pytest.raises(RecipeError, match=r"model: there is no network of kind 'source'"):
        load_crystal_recipe("crystals/perov_5", ["model.kind=source"])
