import keras
import pytest

from sb_keras import Attention, MobileNetV2, fold, profile
from sb_keras.layers import DynamicConv2D, DynamicDepthwiseConv2D, ShiftBalance, SqueezeExcite

# Equations 10 to 17, worked out by hand


def rows(inputs, outputs):
    return {row.name: row for row in profile(keras.Model(inputs, outputs)).layers}


def cost(row):
    return row.multiplies, row.adds, row.madds


def attention_layer(cls, strides=1):
    """On a convolution from 8 to 12 channels of a 6×6 map, with 5 hidden units."""
    inputs = keras.Input((6, 6, 8))
    trunk = keras.layers.Conv2D(12, 3, strides, padding="same", use_bias=False)(inputs)
    return rows(inputs, cls(hidden_units=5, name="attention")([trunk, inputs]))["attention"]


def test_shift_balance():
    row = attention_layer(ShiftBalance)
    # GAP: 8 divisions and 8·6·6 = 288 sums. FC: 8·5 + 5·12 = 100. λA: 12. T + λA: 12·6·6 = 432.
    assert cost(row) == (8 + 100 + 12, 288 + 100 + 432, 100)
    # FC 100, two BN of γ and β 2·(5 + 12) = 34, λ 12.
    assert row.parameters == 146
    assert (row.kind, row.output_shape) == ("ShiftBalance", (6, 6, 12))


def test_squeeze_excite():
    """The integration is a multiplication a pixel, and no addition; there is no λ."""
    row = attention_layer(SqueezeExcite)
    assert cost(row) == (8 + 100 + 432, 288 + 100, 100)
    assert row.parameters == 134


@pytest.mark.parametrize(
    ("cls", "expected"),
    # GAP still reads 6×6 pixels; the sum, or the product, is over 3×3: 12·3·3 = 108.
    [(ShiftBalance, (120, 288 + 100 + 108, 100)), (SqueezeExcite, (108 + 108, 388, 100))],
)
def test_attention_of_a_convolution_with_strides(cls, expected):
    assert cost(attention_layer(cls, strides=2)) == expected


@pytest.mark.parametrize(
    ("layer", "products", "parameters"),
    [
        (keras.layers.Conv2D(12, 3, padding="same", use_bias=False), 6 * 6 * 12 * 9 * 8, 9 * 8 * 12),
        (keras.layers.Conv2D(12, 1, strides=2), 3 * 3 * 12 * 8, 8 * 12 + 12),
        (keras.layers.Conv2D(12, 3, groups=4), 4 * 4 * 12 * 9 * 2, 9 * 2 * 12 + 12),
        (keras.layers.DepthwiseConv2D(5, strides=2, padding="same", use_bias=False), 3 * 3 * 8 * 25, 25 * 8),
        (keras.layers.DepthwiseConv2D(3, depth_multiplier=2), 4 * 4 * 16 * 9, 9 * 16 + 16),
        (keras.layers.Dense(7), 6 * 6 * 7 * 8, 8 * 7 + 7),
        (keras.layers.BatchNormalization(), 0, 16),
    ],
)
def test_stock_layers(layer, products, parameters):
    inputs = keras.Input((6, 6, 8))
    (row,) = rows(inputs, layer(inputs)).values()
    assert cost(row) == (products, products, products)
    assert row.parameters == parameters


def test_sums_products_and_pooling():
    inputs = keras.Input((6, 6, 8))
    x = keras.layers.Add(name="add")([inputs, keras.layers.ReLU(name="relu")(inputs), inputs])
    x = keras.layers.Multiply(name="multiply")([inputs, x])
    x = keras.layers.GlobalAveragePooling2D(name="pool")(x)
    costs = {name: cost(row) for name, row in rows(inputs, x).items()}
    assert costs == {"add": (0, 2 * 288, 0), "multiply": (288, 0, 0), "pool": (8, 288, 0)}


def test_dynamic_convolution():
    inputs = keras.Input((6, 6, 8))
    layer = DynamicConv2D(12, 3, strides=2, experts=4, hidden_units=2, use_bias=False)
    (row,) = rows(inputs, layer(inputs)).values()
    # FC: 8·2 + 2·4 = 24. Mixing: 4·3·3·8·12 = 3456. Convolution: 3·3·12·3·3·8 = 7776.
    products = 24 + 3456 + 7776
    assert cost(row) == (8 + products, 288 + products, products)
    # Kernels 3456, FC 24 with biases 2 + 4, two BN of γ and β 2·(2 + 4) = 12; the temperature is not learned.
    assert row.parameters == 3456 + 24 + 6 + 12


def test_dynamic_depthwise_convolution():
    inputs = keras.Input((6, 6, 8))
    layer = DynamicDepthwiseConv2D(3, experts=4, hidden_units=2, use_bias=False)
    (row,) = rows(inputs, layer(inputs)).values()
    # FC: 24. Mixing: 4·3·3·8 = 288. Convolution: 6·6·8·3·3 = 2592.
    products = 24 + 288 + 2592
    assert cost(row) == (8 + products, 288 + products, products)


def test_folding_keeps_the_multiply_adds_of_convolutions_and_branches():
    """Folded, λ is a 1×1 convolution, so that its products count as multiply-adds; nothing else changes."""
    inputs = keras.Input((6, 6, 8))
    trunk = keras.layers.Conv2D(12, 3, padding="same", use_bias=False)(inputs)
    y = keras.layers.BatchNormalization()(ShiftBalance(5)([trunk, inputs]))
    model = keras.Model(inputs, y)
    before, after = profile(model).total, profile(fold(model)).total
    assert after.madds == before.madds + 12
    assert (after.multiplies, after.adds) == (before.multiplies, before.adds + 12)


# The whole


def small_model():
    inputs = keras.Input((8, 8, 3))
    x = keras.layers.Conv2D(4, 3, use_bias=False, name="conv")(inputs)
    x = ShiftBalance(name="attention")([x, inputs])
    x = keras.layers.ReLU()(keras.layers.BatchNormalization(name="norm")(x))
    return keras.Model(inputs, x, name="small")


def test_total_is_the_sum():
    costs = profile(small_model())
    assert [row.name for row in costs.layers] == ["conv", "attention", "norm"]
    for field in ("parameters", "multiplies", "adds", "madds"):
        assert getattr(costs.total, field) == sum(getattr(row, field) for row in costs.layers)
    assert costs.total.output_shape == (6, 6, 4)


def test_printing():
    lines = str(profile(small_model())).splitlines()
    assert lines[0].split() == ["layer", "kind", "output", "parameters", "multiplies", "adds", "MAdds"]
    assert [line.split()[0].strip("─") for line in lines] == [
        "layer", "", "conv", "attention", "norm", "", "total"
    ]  # fmt: skip
    # 3·3·3·4 weights at 6·6 positions.
    assert lines[2].split() == ["conv", "Conv2D", "6×6×4", "108", "3,888", "3,888", "3,888"]
    assert len({len(line) for line in lines}) == 1  # the last column is aligned to the right


def test_model_within_a_model():
    inner = small_model()
    inputs = keras.Input((8, 8, 3))
    x = keras.layers.Dense(2)(keras.layers.Flatten()(inner(inputs)))
    costs = profile(keras.Model(inputs, x))
    assert costs.layers[0].name == "small"
    inner_total, dense = profile(inner).total, 6 * 6 * 4 * 2
    assert cost(costs.layers[0]) == cost(inner_total)
    assert costs.total.madds == inner_total.madds + dense
    assert costs.total.parameters == inner_total.parameters + dense + 2


def test_shared_layers_compute_twice_and_have_one_set_of_weights():
    inputs = keras.Input((8, 8, 4))
    conv = keras.layers.Conv2D(4, 1, use_bias=False)
    costs = profile(keras.Model(inputs, conv(conv(inputs))))
    assert [row.parameters for row in costs.layers] == [16, 0]
    assert costs.total.madds == 2 * 8 * 8 * 16


def test_sequential_model():
    model = keras.Sequential([keras.Input((8, 8, 4)), keras.layers.Conv2D(2, 1, use_bias=False)])
    assert profile(model).total.madds == 8 * 8 * 8


def test_unknown_size():
    model = MobileNetV2((None, None, 3), width_multiplier=0.1, attention=Attention("static"))
    with pytest.raises(
        ValueError, match=r"known image size. Received: layer 'image' .*\(None, None, None, 3\)"
    ):
        profile(model)


def test_model_without_a_graph():
    with pytest.raises(ValueError, match=r"Expected a functional .* 'new' of type Sequential"):
        profile(keras.Sequential([keras.layers.Dense(3)], name="new"))
