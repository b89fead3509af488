"""One tiny run with a prior and a property head for all tests of runs."""

import pytest
from tiny_runs import Run, energetic, recipe_of

from variolite.crystals.generation import composition, properties
from variolite.crystals.run import train_crystal_run


@pytest.fixture(scope="session", autouse=True)
def short_priors():
    """Compositions and properties are learned in a few steps: here nobody asks how well."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(composition, "EPOCHS", 1)
        patch.setattr(composition, "FEWEST_STEPS", 5)
        patch.setattr(properties, "EPOCHS", 3)
        yield


@pytest.fixture(scope="session")
def run(tmp_path_factory):
    """A run on textbook crystals with a prior and a property, not to be changed."""
    place, crystals = tmp_path_factory.mktemp("crystal-run") / "run", energetic()
    recipe = recipe_of("prior.kind=flow", "properties=[energy]")
    return Run(*train_crystal_run(recipe, crystals, place, name="textbook"), crystals, recipe)


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "run"
