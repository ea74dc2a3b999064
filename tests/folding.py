"""What the tests of folding share."""

import keras
import numpy as np

from sb_keras import Attention
from sb_keras.attention import GATES
from sb_keras.graph import inner_layers

KINDS = {
    "static": Attention("static"),
    "se-block": Attention("se-block"),
    "se": Attention("se"),
    "se after norm": Attention("se", placement="norm"),
    "sb after norm": Attention("sb", placement="norm"),
    "sb with dropout": Attention("sb", dropout=0.2, positions=("expand", "project")),
    **{f"sb {gate}": Attention("sb", gate=gate) for gate in GATES},
    "dyconv": Attention("dyconv"),
    "condconv": Attention("condconv", experts=3, dropout=0.2),
}
# Rounding in single precision is 6e-8; summed over the products of some ten layers it stays below a
# hundred times that. Batch normalization's ε alone, if forgotten, would make a difference of 1e-4.
SHALLOW = 1e-5


def assert_same_function(folded, model, x, tolerance=SHALLOW):
    for actual, expected in zip(keras.tree.flatten(folded(x)), keras.tree.flatten(model(x)), strict=True):
        assert actual.dtype == "float32"
        expected = keras.ops.convert_to_numpy(expected)
        np.testing.assert_allclose(actual, expected, rtol=0, atol=tolerance * np.abs(expected).max())


def assert_same_feature_maps(folded, model, names, x, tolerance):
    maps = [keras.Model(m.input, [m.get_layer(name).output for name in names]) for m in (folded, model)]
    assert_same_function(*maps, x=x, tolerance=tolerance)


def leaves(model):
    """The layers of a model and of the models in it."""
    for layer in model.layers:
        if isinstance(layer, keras.Model):
            yield from leaves(layer)
        else:
            yield layer


def assert_stock(folded, *others):
    """No normalization, and no layer that does not come with Keras."""
    assert not any(isinstance(layer, keras.layers.BatchNormalization) for layer in inner_layers(folded))
    for layer in leaves(folded):
        assert type(layer).__module__.startswith("keras.") or isinstance(layer, others), layer


def assert_kept_names(folded, model):
    """All that a program could ask for by name, which is all but the normalizations."""
    names = {
        layer.name for layer in model.layers
        if not isinstance(layer, keras.layers.BatchNormalization | keras.layers.Dropout)
    }  # fmt: skip
    assert names <= {layer.name for layer in folded.layers}
