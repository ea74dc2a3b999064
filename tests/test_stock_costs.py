"""The products of Keras's own layers, each worked out by hand."""

import keras
import numpy as np
import pytest
from keras import layers

from sb_keras import layers as sb_layers
from sb_keras import profile


def total(inputs, outputs):
    return profile(keras.Model(inputs, outputs)).total


def operations(row):
    return row.multiplies, row.adds, row.madds


def products(layer, *shapes, **arguments):
    """What one layer costs, which is products alone, given inputs of these shapes."""
    inputs = [keras.Input(shape) for shape in shapes]
    row = total(inputs, layer(*inputs, **arguments))
    assert row.multiplies == row.adds == row.madds
    assert row.parameters == sum(np.prod(weight.shape) for weight in layer.weights)
    return row.madds


MAP = (6, 6, 8)


@pytest.mark.parametrize(
    ("layer", "shape", "expected"),
    [
        # Positions of the output · (kernel · channels · multiplier + channels · multiplier · filters).
        (layers.SeparableConv2D(12, 3, padding="same"), MAP, 36 * (9 * 8 + 8 * 12)),
        (layers.SeparableConv2D(12, 3), MAP, 16 * (9 * 8 + 8 * 12)),
        (layers.SeparableConv2D(12, 3, strides=2, padding="same"), MAP, 9 * (9 * 8 + 8 * 12)),
        (layers.SeparableConv2D(12, 5, depth_multiplier=3), MAP, 4 * (25 * 24 + 24 * 12)),
        (layers.SeparableConv1D(12, 3, strides=2, depth_multiplier=2), (9, 8), 4 * (3 * 16 + 16 * 12)),
        # Positions of the input · kernel · channels · filters, whatever the padding crops.
        (layers.Conv2DTranspose(12, 3), MAP, 36 * 9 * 8 * 12),
        (layers.Conv2DTranspose(12, 3, strides=2, padding="same", use_bias=False), MAP, 36 * 9 * 8 * 12),
        (layers.Conv2DTranspose(12, (1, 5), strides=(1, 3)), MAP, 36 * 5 * 8 * 12),
        (layers.Conv1DTranspose(12, 4, strides=2), (9, 8), 9 * 4 * 8 * 12),
        (layers.Conv3DTranspose(2, 3), (4, 5, 6, 7), 120 * 27 * 7 * 2),
        # As in the tests of `profile`, in other ranks.
        (layers.Conv1D(12, 3, groups=4), (9, 8), 7 * 12 * 3 * 2),
        (layers.Conv3D(2, 3, strides=2, padding="same"), (4, 5, 6, 7), 2 * 3 * 3 * 2 * 27 * 7),
        (layers.DepthwiseConv1D(3, strides=2, depth_multiplier=2), (9, 8), 4 * 16 * 3),
        (layers.EinsumDense("abc,cd->abd", (9, 12)), (9, 8), 9 * 8 * 12),
        (layers.EinsumDense("...c,cd->...d", 12), (9, 7, 8), 9 * 7 * 8 * 12),
        (layers.EinsumDense("abc,cde->abde", (9, 2, 5), bias_axes="de"), (9, 8), 9 * 8 * 2 * 5),
        (layers.EinsumDense("abcd,cde->abe", (9, 5)), (9, 2, 8), 9 * 2 * 8 * 5),
        (layers.EinsumDense("abc,bd->adc", (5, 8)), (9, 8), 9 * 5 * 8),
        (layers.EinsumDense("abc,c->abc", (9, 8)), (9, 8), 9 * 8),  # a scale a channel
        (layers.TimeDistributed(layers.Conv2D(12, 3, strides=2)), (5, *MAP), 5 * 4 * 12 * 9 * 8),
        (layers.TimeDistributed(layers.Dense(12)), (5, 8), 5 * 8 * 12),
        (layers.TimeDistributed(layers.TimeDistributed(layers.Dense(12))), (5, 3, 8), 5 * 3 * 8 * 12),
    ],
)
def test_products_of(layer, shape, expected):
    assert products(layer, shape) == expected


@pytest.mark.parametrize(
    ("layer", "expected"),
    [
        (layers.Conv2DTranspose(12, 3, data_format="channels_first"), 48 * 9 * 6 * 12),
        (layers.SeparableConv2D(12, 3, padding="same", data_format="channels_first"), 48 * (9 * 6 + 6 * 12)),
    ],
)
def test_products_of_channels_first(layer, expected):
    """The channels are 6 then, and the positions 6 · 8, or what is left of them."""
    assert products(layer, MAP) == expected


def test_a_transposed_convolution_costs_what_the_convolution_back_costs():
    """10×10 pixels of 12 channels to 5×5 of 8, and the other way."""
    back = layers.Conv2D(8, 3, strides=2, padding="same")
    assert products(layers.Conv2DTranspose(12, 3, strides=2, padding="same"), (5, 5, 8)) == products(
        back, (10, 10, 12)
    )


# Attention over T = 5 positions of 6 channels, to S = 7 positions of 4 (values) and 3 (keys) channels.
QUERY, VALUE, KEY = (5, 6), (7, 4), (7, 3)


@pytest.mark.parametrize("by_name", [False, True])
def test_multi_head_attention(by_name):
    """Two heads with keys of 10 numbers and values of 11."""
    expected = (
        5 * 6 * 2 * 10  # projection of the query
        + 7 * 3 * 2 * 10  # of the key
        + 7 * 4 * 2 * 11  # of the value
        + 5 * 7 * 2 * 10  # every query with every key
        + 5 * 7 * 2 * 11  # the weighted sums of values
        + 5 * 2 * 11 * 6  # projection of the output
    )
    layer = layers.MultiHeadAttention(2, 10, value_dim=11)
    query, value, key = (keras.Input(shape) for shape in (QUERY, VALUE, KEY))
    outputs = layer(key=key, query=query, value=value) if by_name else layer(query, value, key)
    assert operations(total([query, value, key], outputs)) == (expected,) * 3


def test_multi_head_attention_without_key_and_with_a_mask():
    query, value, mask = keras.Input(QUERY), keras.Input(VALUE), keras.Input((5, 7), dtype="bool")
    outputs, scores = layers.MultiHeadAttention(2, 10, output_shape=(3, 2))(
        query, value, attention_mask=mask, return_attention_scores=True
    )
    expected = 5 * 6 * 20 + 2 * 7 * 4 * 20 + 2 * 5 * 7 * 20 + 5 * 20 * 3 * 2
    assert total([query, value, mask], [outputs, scores]).madds == expected


def test_self_attention_with_a_gate():
    """A gate is one more projection of the query, as wide as the values."""
    layer = layers.MultiHeadAttention(2, 10, use_gate=True)
    inputs = keras.Input(QUERY)
    assert total(inputs, layer(inputs, inputs)).madds == 5 * 5 * 6 * 20 + 2 * 5 * 5 * 20


@pytest.mark.parametrize(("axes", "attended"), [(None, 4 * 5), ((1, 2), 4 * 5), ((2,), 5), ((-2,), 5)])
def test_attention_over_some_axes(axes, attended):
    """Over a map of 4×5: every position to all of them, or to those of its row."""
    layer = layers.MultiHeadAttention(2, 10, attention_axes=axes)
    inputs = keras.Input((4, 5, 6))
    expected = 4 * (20 * 6 * 20) + 2 * (20 * attended * 20)
    assert total(inputs, layer(inputs, inputs)).madds == expected


@pytest.mark.parametrize("gate", [False, True])
def test_grouped_query_attention(gate):
    """Four heads of queries, two of keys and values, of 10 numbers each; values have 6 channels."""
    expected = (
        5 * 6 * 4 * 10  # projection of the query
        + 7 * 3 * 2 * 10  # of the key
        + 7 * 6 * 2 * 10  # of the value
        + 2 * 5 * 7 * 4 * 10  # both products
        + 5 * 4 * 10 * 6  # projection of the output
        + gate * 5 * 6 * 4 * 10
    )
    layer = layers.GroupQueryAttention(10, 4, 2, use_gate=gate)
    assert products(layer, QUERY, (7, 6), KEY) == expected


def test_layers_within_wrappers():
    """A model, and layers of this package, five times each."""
    inner_inputs = keras.Input(MAP)
    conv = layers.Conv2D(12, 3, use_bias=False)(inner_inputs)
    inner = keras.Model(inner_inputs, layers.GlobalAveragePooling2D()(conv))
    inputs = keras.Input((5, *MAP))
    conv_products, sums = 16 * 12 * 9 * 8, 16 * 12
    assert operations(total(inputs, layers.TimeDistributed(inner)(inputs))) == (
        5 * (conv_products + 12),
        5 * (conv_products + sums),
        5 * conv_products,
    )
    # GAP: 8 divisions and 288 sums; FC: 8 · 3 + 3 · 2.
    row = total(inputs, layers.TimeDistributed(sb_layers.Excitation(2, 3))(inputs))
    assert operations(row) == (5 * (8 + 30), 5 * (288 + 30), 5 * 30)


@pytest.mark.parametrize(
    ("layer", "parameters"),
    [
        (layers.BatchNormalization(), 16),
        (sb_layers.BatchNormalization(), 16),
        (layers.LayerNormalization(), 16),
        (layers.GroupNormalization(4), 16),
        (layers.RMSNormalization(), 8),
        (layers.UnitNormalization(), 0),
        (layers.PReLU(), 6 * 6 * 8),
        (layers.Dropout(0.5), 0),
        (layers.GaussianNoise(0.5), 0),
        (layers.ReLU(), 0),
        (layers.MaxPooling2D(), 0),
        (layers.TimeDistributed(layers.LayerNormalization()), 16),
        (sb_layers.ChannelShuffle(2), 0),
    ],
)
def test_what_is_free(layer, parameters):
    inputs = keras.Input(MAP)
    row = total(inputs, layer(inputs))
    assert operations(row) == (0, 0, 0)
    assert row.parameters == parameters


def test_normalization_of_inputs_is_free():
    inputs = keras.Input(MAP)
    normalization = layers.Normalization()
    normalization.adapt(np.ones((2, *MAP)))
    assert operations(total(inputs, normalization(inputs))) == (0, 0, 0)


def test_embedding_is_a_look_up():
    inputs = keras.Input((5,), dtype="int32")
    row = total(inputs, layers.Embedding(10, 3)(inputs))
    assert (operations(row), row.parameters) == ((0, 0, 0), 30)


class Scaled(layers.Layer):
    """A user's layer with a weight."""

    def build(self, input_shape):
        self.factor = self.add_weight(shape=input_shape[-1:], name="factor")

    def call(self, inputs):
        return self.factor * inputs

    def compute_output_shape(self, input_shape):
        return input_shape


class Counted(Scaled):
    """A user's layer that knows what it costs."""

    def cost(self, input_shape):
        assert input_shape == (None, *MAP)
        return 288, 2, 3


@pytest.mark.parametrize(
    ("layer", "name", "kind"),
    [
        (Scaled(name="mine"), "mine", "Scaled"),
        (layers.TimeDistributed(Scaled(name="mine")), "mine", "Scaled"),
        (layers.SpectralNormalization(layers.Conv2D(2, 3), name="spectral"), "spectral", "SpectralNormal"),
        (layers.ConvLSTM1D(2, 3, name="recurrent"), "recurrent", "ConvLSTM1D"),
    ],
)
def test_unknown_layer_with_weights(layer, name, kind):
    inputs = keras.Input(MAP)
    with pytest.raises(
        ValueError, match=rf"layer '{name}' costs: expected .* `cost\(input_shape\)`. Received: {kind}"
    ):
        total(inputs, layer(inputs))


@pytest.mark.parametrize(
    "layer", [layers.LSTM(3, name="r"), layers.RNN(layers.GRUCell(3), name="r"),
              layers.Bidirectional(layers.GRU(3), name="r")]
)  # fmt: skip
def test_recurrent_layers_are_not_counted(layer):
    inputs = keras.Input((5, 4))
    with pytest.raises(ValueError, match=r"Cannot count what layer 'r' costs"):
        total(inputs, layer(inputs))


def test_embedding_that_multiplies_is_not_free():
    inputs = keras.Input((5, 3))
    layer = layers.ReversibleEmbedding(10, 3, name="tied")
    with pytest.raises(ValueError, match=r"'tied' costs"):
        total(inputs, layer(inputs, reverse=True))


def test_a_layer_is_asked_what_it_costs():
    inputs = keras.Input(MAP)
    row = total(inputs, Counted()(inputs))
    assert (operations(row), row.parameters) == ((288, 2, 3), 8)


def test_layers_called_by_name_or_with_training():
    """Keras notes down how a layer was called; neither changes what it costs."""
    inputs = keras.Input(MAP)
    trunk = layers.Conv2D(12, 3, padding="same", name="conv")(inputs, training=False)
    y = sb_layers.ShiftBalance(5, name="sb")(inputs=[trunk, inputs], training=False)
    rows = {row.name: operations(row) for row in profile(keras.Model(inputs, y)).layers}
    assert rows["conv"] == (36 * 12 * 72,) * 3
    assert rows["sb"] == (8 + 100 + 12, 288 + 100 + 432, 100)


# What this package's layers say of themselves, with no model around them


def test_costs_of_single_layers():
    """The context takes the average over from the branch; everything else stays with it."""
    context, branch = sb_layers.GlobalContext(), sb_layers.Excitation(12, 5)
    assert context.cost((None, 6, 6, 8)) == (8, 288, 0)
    assert branch.cost((None, 6, 6, 8)) == (108, 388, 100)
    assert branch.cost((None, 8)) == (100, 100, 100)
    for cls in (sb_layers.ShiftBalance, sb_layers.SqueezeExcite):
        layer = cls(5)
        layer.build([(None, 6, 6, 12), (None, 8)])
        averaged, read = (layer.cost([(None, 6, 6, 12), shape]) for shape in ((None, 8), (None, 6, 6, 8)))
        assert [a + b for a, b in zip(averaged, context.cost((None, 6, 6, 8)), strict=True)] == list(read)
