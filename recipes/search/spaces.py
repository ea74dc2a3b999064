"""Search spaces for `recipes.tune`: for keys of a recipe, the values to try."""

from recipes import pretrained
from recipes.effects import check_effects
from recipes.errors import UserError
from recipes.fields import check_keys

ALGORITHMS = ("grid", "random", "bayesian", "hyperband")

# keras-tuner's Hyperband gives a third of the epochs to the first of its rounds.
LEAST_EPOCHS = 3

ATTENTION = "model.attention"

SPACES = {
    # Table 8: the initial value of the control factor.
    "lambda": {f"{ATTENTION}.lambda_init": (0.01, 0.05, 0.1, 0.5, 1.0)},
    # Table 9
    "gate": {f"{ATTENTION}.gate": ("tanh", "sigmoid", "softmax", "relu", "linear")},
    # Hidden units as multiples of the output channels: those of Table 10, and fewer.
    "hidden": {f"{ATTENTION}.hidden_multiplier": (0.0625, 0.25, 0.5, 1.0, 2.0, 3.0, 4.0)},
    "attention": {
        f"{ATTENTION}.lambda_init": (0.01, 0.05, 0.1, 0.5),
        f"{ATTENTION}.hidden_multiplier": (0.25, 1.0, 2.0, 3.0),
        f"{ATTENTION}.gate": ("tanh", "sigmoid", "linear"),
        f"{ATTENTION}.dropout": (0.0, 0.2),
        f"{ATTENTION}.positions": ("expand,depthwise,project", "expand,project", "project"),
    },
}


def check_space(recipe, space, algorithm):
    """Raises a `UserError` if a key or value does not suit the recipe, or nothing would differ.

    Args:
        recipe: The recipe whose values are searched for.
        space: For keys of the recipe, as `--set` takes them, the values to try.
        algorithm: One of `ALGORITHMS`.
    """
    check_keys(recipe, space, "--choice")
    if algorithm == "hyperband" and "epochs" in space:
        raise UserError("hyperband chooses the epochs itself; search other keys, or by another --algorithm")
    if recipe.model.attention.kind == "static" and not _varies_the_network(space):
        raise UserError(f"{recipe.name} is static: it has no attention whose values could be searched for")
    if algorithm == "hyperband" and recipe.epochs < LEAST_EPOCHS:
        raise UserError(
            f"hyperband needs at least {LEAST_EPOCHS} epochs, or no trial has fewer than another. "
            f"Received: {recipe.epochs}"
        )
    for key in space:
        if key == "name" or key.startswith("compression."):
            raise UserError(f"--choice {key} has no effect on a training. Received: {_text(key, space[key])}")
    if "seed" in space:
        raise UserError("a search does not choose a seed: --seeds N trains every trial with N of them")
    kinds = [{f"{ATTENTION}.kind": kind} for kind in space.get(f"{ATTENTION}.kind", ())]
    for key, values in space.items():
        tried = set()
        for value in values:
            _check_value(recipe, kinds or [{}], key, value)
            trial = trial_recipe(recipe, {key: value})
            pretrained.check(trial)
            tried.add(trial)
        if len(tried) < len(values):
            raise UserError(f"--choice takes every value of a key once. Received: {_text(key, values)}")


def _text(key, values):
    """A key and its values as `--choice` takes them."""
    texts = list(map(str, values))
    return f"{key}={(';' if any(',' in text for text in texts) else ',').join(texts)}"


def _check_value(recipe, kinds, key, value):
    """Raises a `UserError` unless the value suits one of the kinds of attention and has an effect there."""
    for number, kind in enumerate(kinds, 1):
        try:
            check_effects(trial_recipe(recipe, {**kind, key: value}), [key], recipe)
            return
        except UserError:
            if number == len(kinds):
                raise


def trial_recipe(recipe, values):
    """The recipe with a trial's values; where kinds of attention are compared, not each has all of them."""
    assignments = [f"{key}={value}" for key, value in values.items() if not key.startswith("tuner/")]
    return pretrained.follow(recipe.override(assignments, idle=True), assignments)


def _varies_the_network(space):
    """Whether a space has more to it than values of the attention, which a static network has none of."""
    return any(not key.startswith("model.attention.") or key.endswith(".kind") for key in space)
