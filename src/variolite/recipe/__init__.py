"""Recipes: typed settings that extend one another."""

from variolite.recipe.crystals import (
    CrystalArchitecture,
    CrystalRecipe,
    CrystalSplitSpec,
    LossWeights,
    PriorSpec,
    load_crystal_recipe,
)
from variolite.recipe.importing import Imported, Setting, import_source
from variolite.recipe.loading import load_recipe, packaged_recipes, recipe_from_dict, recipe_to_yaml
from variolite.recipe.spec import (
    BaseRecipe,
    ClusteringSpec,
    ConstantBeta,
    CyclicalBeta,
    LinearBeta,
    ModelSpec,
    PlateauSpec,
    Recipe,
    Schedule,
    SigmoidBeta,
    SplitSpec,
    TrainingSpec,
)

__all__ = [
    "BaseRecipe",
    "ClusteringSpec",
    "ConstantBeta",
    "CrystalArchitecture",
    "CrystalRecipe",
    "CrystalSplitSpec",
    "CyclicalBeta",
    "Imported",
    "LinearBeta",
    "LossWeights",
    "ModelSpec",
    "PlateauSpec",
    "PriorSpec",
    "Recipe",
    "Schedule",
    "Setting",
    "SigmoidBeta",
    "SplitSpec",
    "TrainingSpec",
    "import_source",
    "load_crystal_recipe",
    "load_recipe",
    "packaged_recipes",
    "recipe_from_dict",
    "recipe_to_yaml",
]
