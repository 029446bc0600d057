"""What a model looks at: importance of features, attributions of rows, and the least change that flips a decision."""

from kit.model.explain.budget import Budget
from kit.model.explain.explain import explain
from kit.model.explain.features import Features, features_of

__all__ = ["Budget", "Features", "explain", "features_of"]
