"""What pictures must look like for the weights that a network begins with."""

import pathlib
import zipfile

from recipes.errors import UserError
from recipes.run_directory import RunDirectory

# Mean and deviation of pixels in [0, 1]: keras.applications' MobileNetV2 takes pixels / 127.5 − 1,
# torchvision's networks what PyTorch's example for ImageNet normalizes with.
KERAS = (0.5, 0.5, 0.5), (0.5, 0.5, 0.5)
TORCH = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
_BY_SUFFIX = {".h5": KERAS, ".pth": TORCH, ".pt": TORCH, ".safetensors": TORCH}


def normalization(weights):
    """The `data.mean` and `data.std` that `model.weights` was trained with; None if nothing tells.

    Args:
        weights: As `recipes.settings.Model` takes it.
    """
    if weights == "imagenet":
        return KERAS
    trained = _recipe_of(weights)
    if trained is not None:
        return trained.data.mean, trained.data.std
    return KERAS if _is_of_applications(weights) else _BY_SUFFIX.get(pathlib.Path(weights).suffix)


def _is_of_applications(path):
    """Whether a `.keras` file holds keras.applications' MobileNetV2, by the name of its first layer."""
    try:
        with zipfile.ZipFile(path) as archive:
            return b'"Conv1"' in archive.read("config.json")
    except (OSError, KeyError, zipfile.BadZipFile):
        return False


def _recipe_of(weights):
    """The recipe of the run directory that weights are in; None if they are in none."""
    path = pathlib.Path(weights)
    if path.suffix == ".keras":
        path = path.parent.parent if path.parent.name == "checkpoints" else path.parent
    return RunDirectory(path).recipe if (path / "recipe.json").is_file() else None


def follow(recipe, assignments):
    """A recipe whose pictures are normalized as its `model.weights` need it.

    Args:
        recipe: The recipe.
        assignments: What the user has set, `key=value`. With `data.mean` or `data.std` nothing is changed.
    """
    keys = {assignment.partition("=")[0] for assignment in assignments}
    if "model.weights" not in keys or {"data.mean", "data.std"} & keys or not recipe.model.weights:
        return recipe
    found = normalization(recipe.model.weights)
    if found is None:
        return recipe
    mean, std = (",".join(map(str, values)) for values in found)
    return recipe.override([f"data.mean={mean}", f"data.std={std}"])


def remark(recipe):
    """A line about attention that takes from a network what `model.weights` know, and about a `model.freeze`
    that freezes nothing; empty if there is neither.
    """
    attention, weights = recipe.model.attention, recipe.model.weights
    kind, freeze = attention.kind, recipe.model.freeze
    if freeze is not None and not recipe.model.begins_trained:
        return f"note: model.freeze={freeze} freezes nothing: the network begins with random weights"
    if weights is None or kind in ("static", "dyconv") or (kind == "sb" and attention.lambda_init == 0):
        return ""
    trained = _recipe_of(weights)
    if trained is not None and trained.model.attention.kind == kind:
        return ""
    if kind == "sb":
        return (
            f"note: with λ from {attention.lambda_init:g} a network does not begin as the one that "
            "model.weights are of; with model.attention.lambda_init=0 it does"
        )
    return (
        f"note: with {kind} a network does not begin as the one that model.weights are of, and most of what "
        "that one knows is lost; with sb and dyconv it does"
    )


def check(recipe):
    """Raises a `UserError` unless `model.weights` are there and the pictures normalized as they need it."""
    weights = recipe.model.weights
    if weights is None:
        return
    if weights != "imagenet" and not pathlib.Path(weights).exists():
        raise UserError(
            f'model.weights must be "imagenet" or a path. Received: {weights}, which does not exist'
        )
    expected = normalization(weights)
    if expected is None or expected == (recipe.data.mean, recipe.data.std):
        return
    settings = (
        f"--set {key}={','.join(map(str, values))}"
        for key, values in zip(("data.mean", "data.std"), expected, strict=True)
    )
    raise UserError(
        f"model.weights={weights} were trained with other pictures: add {' '.join(settings)}. "
        f"Received: data.mean={recipe.data.mean}, data.std={recipe.data.std}"
    )
