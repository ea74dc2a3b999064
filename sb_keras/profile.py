"""What a network costs: parameters, multiplies, adds and multiply-adds by layer (paper, section 4.1)."""

import dataclasses
import math

import keras

from sb_keras.graph import nodes
from sb_keras.layers.context import GlobalContext
from sb_keras.layers.dynamic_conv import DynamicConv2D, DynamicDepthwiseConv2D
from sb_keras.layers.excitation import ChannelAttention
from sb_keras.layers.shift_balance import ShiftBalance
from sb_keras.table import format_table

_DEPTHWISE = (keras.layers.DepthwiseConv1D, keras.layers.DepthwiseConv2D)
_LINEAR = (
    *_DEPTHWISE,
    keras.layers.Conv1D,
    keras.layers.Conv2D,
    keras.layers.Conv3D,
    keras.layers.Dense,
)
_STATE = ("moving_mean", "moving_variance", "temperature", "seed_generator_state")


@dataclasses.dataclass(frozen=True)
class Cost:
    """What one layer, or a whole model, costs for one input.

    Attributes:
        name: Name of the layer.
        kind: Class of the layer.
        output_shape: Shape of the output without the batch.
        parameters: Number of learned weights; moving statistics are not learned.
        multiplies: Number of multiplications (equations 10, 12, 14).
        adds: Number of additions (equations 11, 13, 15).
        madds: Multiply-adds of convolutions and fully connected layers alone, as Table 1 counts them.
    """

    name: str
    kind: str
    output_shape: tuple
    parameters: int
    multiplies: int
    adds: int
    madds: int


@dataclasses.dataclass(frozen=True)
class Profile:
    """A `Cost` for every layer and one for the whole; prints as a table.

    Attributes:
        layers: The costs of the layers in the order of computation, without those that cost nothing.
        total: Their sum.
    """

    layers: tuple[Cost, ...]
    total: Cost

    def __str__(self):
        head = ("layer", "kind", "output", "parameters", "multiplies", "adds", "MAdds")
        rows = [
            (
                row.name,
                row.kind,
                "×".join(map(str, row.output_shape)),
                *(f"{n:,}" for n in (row.parameters, row.multiplies, row.adds, row.madds)),
            )
            for row in (*self.layers, self.total)
        ]
        return format_table(head, rows, align="<<<>>>>", footer=1)


def profile(model):
    """Counts what a model costs for one input.

    Convolutions and fully connected layers cost their products; the attention branches cost equations 10 to
    17 of the paper; normalizations and activations are free, since they can be fused (section 4.1).

    Args:
        model: A functional or sequential Keras model with a known image size.

    Returns:
        A `Profile`.

    Raises:
        ValueError: If the model is not functional or its image size is unknown.

    Example:

    ```python
    costs = sb_keras.profile(sb_keras.MobileNetV2(width_multiplier=0.35, attention="sb"))
    print(costs)
    print(f"{costs.total.madds / 1e6:.1f} M multiply-adds")
    ```
    """
    counted, rows = set(), []
    for node in nodes(model):
        layer, (output, *_) = node.operation, node.outputs
        shapes = [tensor.shape[1:] for tensor in (*node.input_tensors, output)]
        if any(size is None for shape in shapes for size in shape):
            raise ValueError(
                "`profile` needs a model of known image size. "
                f"Received: layer '{layer.name}' with output shape {output.shape}"
            )
        if isinstance(layer, keras.Model):
            inner = profile(layer).total
            parameters, cost = inner.parameters, (inner.multiplies, inner.adds, inner.madds)
        else:
            parameters, cost = _parameters(layer), _cost(layer, *shapes)
        if layer in counted:  # a shared layer computes again with the same weights
            parameters = 0
        counted.add(layer)
        if parameters or any(cost):
            rows.append(Cost(layer.name, type(layer).__name__, shapes[-1], parameters, *cost))

    sums = (
        sum(getattr(row, field) for row in rows) for field in ("parameters", "multiplies", "adds", "madds")
    )
    output_shape = keras.tree.flatten(model.outputs)[0].shape[1:]
    return Profile(tuple(rows), Cost("total", "", output_shape, *sums))


def _parameters(layer):
    weights = layer.weights if isinstance(layer, keras.layers.Layer) else []
    return sum(math.prod(weight.shape) for weight in weights if weight.name not in _STATE)


def _cost(layer, *shapes):
    """Multiplies, adds and multiply-adds; `shapes` are the inputs' and the output's, without the batch."""
    *inputs, output = shapes
    if isinstance(layer, GlobalContext):
        return inputs[0][-1], math.prod(inputs[0]), 0
    if isinstance(layer, ChannelAttention):
        return _attention_cost(layer, inputs[1], output)
    if isinstance(layer, DynamicConv2D | DynamicDepthwiseConv2D):
        return _dynamic_cost(layer, inputs[0], output)

    products = 0
    if isinstance(layer, _LINEAR):
        kernel, *_ = (weight.shape for weight in layer.weights)
        inputs_per_output = kernel[:-2] if isinstance(layer, _DEPTHWISE) else kernel[:-1]
        products = math.prod(output) * math.prod(inputs_per_output)
    elif isinstance(layer, keras.layers.GlobalAveragePooling2D):
        return math.prod(output), math.prod(inputs[0]), 0
    elif isinstance(layer, keras.layers.Add):
        return 0, (len(inputs) - 1) * math.prod(output), 0
    elif isinstance(layer, keras.layers.Multiply):
        return (len(inputs) - 1) * math.prod(output), 0, 0
    return products, products, products


def _branch_cost(network, shape):
    """GAP (equations 10 and 11) and the two fully connected layers (equations 12 and 13)."""
    channels = shape[-1]
    products = channels * network.hidden_units + network.hidden_units * network.units
    averaged = (channels, math.prod(shape)) if len(shape) == 3 else (0, 0)
    return averaged[0] + products, averaged[1] + products, products


def _attention_cost(layer, inputs, output):
    multiplies, adds, products = _branch_cost(layer.excitation, inputs)
    if isinstance(layer, ShiftBalance):  # equations 14 and 15
        return multiplies + output[-1], adds + math.prod(output), products
    return multiplies + math.prod(output), adds, products


def _dynamic_cost(layer, inputs, output):
    """The routing branch, the mixing of the kernels, and one convolution."""
    multiplies, adds, products = _branch_cost(layer.routing_network, inputs)
    depthwise = isinstance(layer, DynamicDepthwiseConv2D)
    inputs_per_output = layer.kernel_size if depthwise else layer.kernel.shape[1:-1]
    mixed = math.prod(layer.kernel.shape) + math.prod(output) * math.prod(inputs_per_output)
    return multiplies + mixed, adds + mixed, products + mixed
