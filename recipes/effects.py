"""Which keys of a recipe have no effect beside others: who sets one expects another training."""

from recipes.data.catalog import CATALOG
from recipes.errors import UserError
from recipes.fields import flat_items
from recipes.settings import BUILDERS, DYNAMIC

_KIND, _GATE = "model.attention.kind", "model.attention.gate"
_ATTENTION = ("se-block", "se", "sb", *DYNAMIC)
_TEMPERATURE = ((_KIND, DYNAMIC), (_GATE, ("softmax",)))
# For a key the others that it needs, and which of their values.
_NEEDS = {
    "model.attention.positions": ((_KIND, ("se", "sb", *DYNAMIC)),),
    "model.attention.blocks": ((_KIND, _ATTENTION),),
    "model.attention.placement": ((_KIND, ("se", "sb")),),
    "model.attention.gate": ((_KIND, _ATTENTION),),
    "model.attention.lambda_init": ((_KIND, ("sb",)),),
    "model.attention.hidden_multiplier": ((_KIND, _ATTENTION),),
    "model.attention.dropout": ((_KIND, _ATTENTION),),
    "model.attention.experts": ((_KIND, DYNAMIC),),
    "model.attention.temperature": _TEMPERATURE,
    "temperature_epochs": _TEMPERATURE,
    "model.dropout": (("model.builder", BUILDERS["classification"]),),
    "optimizer.attention_learning_rate": ((_KIND, _ATTENTION),),
    "optimizer.schedule_epochs": (("optimizer.schedule", ("cosine", "linear")),),
    "optimizer.momentum": (("optimizer.name", ("sgd",)),),
    "data.pad": (("data.augmentation", ("pad_crop",)),),
    "data.cache": (("data.name", ("image_folder",)), ("data.augmentation", ("random_resized_crop",))),
    "data.train_splits": (("data.name", ("voc",)),),
    "data.test_splits": (("data.name", ("voc",)),),
    "data.skip_bad": (("data.name", tuple(name for name in CATALOG if CATALOG[name].needs_tensorflow)),),
}


def check_effects(recipe, keys, before):
    """Raises a `UserError` if a key was given a value that changes nothing.

    Args:
        recipe: The recipe with the values.
        keys: Those that were set.
        before: The recipe without; its values, and those of a new recipe, may be set wherever they are.
    """
    values, earlier = dict(flat_items(recipe)), dict(flat_items(before))
    defaults = dict(flat_items(type(recipe)("")))
    needed = {**values, _GATE: recipe.model.attention.effective_gate}
    for key in keys:
        if values[key] in (earlier[key], defaults[key]):
            continue
        needs = _NEEDS.get(key, ())
        if key == "data.flip" and recipe.data.task == "detection":
            needs = (("data.augmentation", ("ssd",)),)
        if key == "model.freeze" and not recipe.model.begins_trained:
            needs = (("model.weights", ("imagenet", "a path")),)
        received = str(values[key])
        received = received if received.isprintable() else repr(received)  # a line stays one
        if key == "optimizer.learning_rate" and (others := _rates_beside_a_frozen_backbone(recipe, values)):
            raise UserError(
                f"{key} has no effect where model.freeze is backbone: what learns there has "
                f"{' and '.join(others)}. Received: {received}"
            )
        for other, useful in needs:
            if needed[other] not in useful:
                raise UserError(
                    f"{key} has no effect where {other} is {needed[other]}: it needs {' or '.join(useful)}. "
                    f"Received: {received}"
                )


def _rates_beside_a_frozen_backbone(recipe, values):
    """The keys of the rates of all that learns, if the backbone doesn't and none is the common one."""
    if recipe.model.freeze != "backbone" or not recipe.model.begins_trained:
        return []
    keys = ["optimizer.head_learning_rate"]
    if recipe.model.attention.kind != "static":
        keys.append("optimizer.attention_learning_rate")
    return [] if any(values[key] is None for key in keys) else keys
