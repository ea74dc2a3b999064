"""What Keras's own layers cost for one input, from the shapes of their inputs and output.

Counted are the products with weights, those of attention, and layers that are a sum, a product or a global
average. Padding counts as if it were pixels, and what a transposed convolution crops as if it were kept.
"""

import math

import keras

_DENSE = (keras.layers.Dense, keras.layers.Conv1D, keras.layers.Conv2D, keras.layers.Conv3D)
_DEPTHWISE = (keras.layers.DepthwiseConv1D, keras.layers.DepthwiseConv2D)
_SEPARABLE = (keras.layers.SeparableConv1D, keras.layers.SeparableConv2D)
_TRANSPOSED = (keras.layers.Conv1DTranspose, keras.layers.Conv2DTranspose, keras.layers.Conv3DTranspose)
_ATTENTION = (keras.layers.MultiHeadAttention, keras.layers.GroupQueryAttention)
# These have weights, but only read them, or can be fused with a product before or behind them.
_FREE = (
    keras.layers.BatchNormalization,
    keras.layers.Embedding,
    keras.layers.GroupNormalization,
    keras.layers.LayerNormalization,
    keras.layers.Normalization,
    keras.layers.PReLU,
    keras.layers.RMSNormalization,
)
_NOT_FREE = (keras.layers.ReversibleEmbedding,)  # which can multiply, too


def stock_cost(layer, inputs, output):
    """Multiplies, adds and multiply-adds of a layer for one input.

    Args:
        layer: A built layer, or another operation of Keras.
        inputs: Shapes of its input tensors, batch first, in the order of the call.
        output: Shape of its first output, batch first.

    Returns:
        Three integers.

    Raises:
        ValueError: If the layer has weights and is of a kind that is not known.
    """
    size = math.prod(output[1:])
    if isinstance(layer, keras.layers.GlobalAveragePooling2D):
        return size, math.prod(inputs[0][1:]), 0
    if isinstance(layer, keras.layers.Add):
        return 0, (len(inputs) - 1) * size, 0
    if isinstance(layer, keras.layers.Multiply):
        return (len(inputs) - 1) * size, 0, 0
    products = _products(layer, inputs, output)
    return products, products, products


def _products(layer, inputs, output):
    size = math.prod(output[1:])
    if isinstance(layer, _DENSE):
        return size * math.prod(layer.kernel.shape[:-1])
    if isinstance(layer, _DEPTHWISE):
        return size * math.prod(layer.kernel.shape[:-2])
    if isinstance(layer, _SEPARABLE):
        kernels = (layer.depthwise_kernel, layer.pointwise_kernel)
        return size // layer.filters * sum(math.prod(kernel.shape) for kernel in kernels)
    if isinstance(layer, _TRANSPOSED):
        # The last axis of its kernel are the input's channels: all others are multiplied by every input.
        return math.prod(inputs[0][1:]) * math.prod(layer.kernel.shape[:-1])
    if isinstance(layer, keras.layers.EinsumDense):
        labels, result = layer.equation.partition(",")[2].split("->")
        summed = [n for label, n in zip(labels, layer.kernel.shape, strict=True) if label not in result]
        return size * math.prod(summed)
    if isinstance(layer, _ATTENTION):
        return _attention_products(layer, inputs, output)
    if isinstance(layer, _FREE) and not isinstance(layer, _NOT_FREE):
        return 0
    if getattr(layer, "weights", None):
        raise ValueError(
            f"Cannot count what layer '{layer.name}' costs: expected a layer of a known kind, one without "
            f"weights, or one with a method `cost(input_shape)`. Received: {type(layer).__name__}"
        )
    return 0


def _attention_products(layer, inputs, output):
    """Projections of query, key, value, output and gate, if there is one, and attention's two products."""
    query, value, key = inputs if len(inputs) == 3 else (*inputs, inputs[1])
    if isinstance(layer, keras.layers.MultiHeadAttention):
        heads, value_heads, axes = layer.num_heads, layer.num_heads, layer.attention_axes
        key_dim, value_dim = layer.key_dim, layer.value_dim
    else:
        heads, value_heads, axes = layer.num_query_heads, layer.num_key_value_heads, (1,)
        key_dim, value_dim = layer.head_dim, layer.head_dim
    queries, values = math.prod(query[1:-1]), math.prod(value[1:-1])
    attended = math.prod(value[axis] for axis in axes)
    gate_dim = value_dim if layer.get_config()["use_gate"] else 0
    return (
        queries * query[-1] * heads * (key_dim + gate_dim)
        + values * value_heads * (key[-1] * key_dim + value[-1] * value_dim)
        + queries * attended * heads * (key_dim + value_dim)
        + heads * value_dim * math.prod(output[1:])
    )
