"""Recipes: typed settings that extend one another."""

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
    "CyclicalBeta",
    "LinearBeta",
    "ModelSpec",
    "PlateauSpec",
    "Recipe",
    "Schedule",
    "SigmoidBeta",
    "SplitSpec",
    "TrainingSpec",
    "load_recipe",
    "packaged_recipes",
    "recipe_from_dict",
    "recipe_to_yaml",
]
