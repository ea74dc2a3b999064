"""What a network costs: parameters, multiplies, adds and multiply-adds by layer (paper, section 4.1)."""

import dataclasses
import inspect
import math

import keras

from sb_keras.graph import nodes
from sb_keras.stock_costs import stock_cost
from sb_keras.table import format_table

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

    Convolutions, fully connected layers and Keras's attention cost their products; the attention branches
    cost equations 10 to 17 of the paper; normalizations and activations are free, since they can be fused
    (section 4.1). So are look-ups, and layers without weights except sums, products and global averages. A
    layer with a method `cost(input_shape)`, which returns multiplies, adds and multiply-adds, is asked.

    Args:
        model: A functional or sequential Keras model with a known image size.

    Returns:
        A `Profile`.

    Raises:
        ValueError: If the model is not functional, its image size is unknown, or a layer with weights is of a
            kind that cannot be counted; the message names the layer.

    Example:

    ```python
    costs = sb_keras.profile(sb_keras.MobileNetV2(width_multiplier=0.35, attention="sb"))
    print(costs)
    print(f"{costs.total.madds / 1e6:.1f} M multiply-adds")
    ```
    """
    counted, rows = set(), []
    for node in nodes(model):
        layer, output = node.operation, node.outputs[0].shape
        inputs = _input_shapes(node)
        if any(size is None for shape in (*inputs, output) for size in shape[1:]):
            raise ValueError(
                "`profile` needs a model of known image size. "
                f"Received: layer '{layer.name}' with output shape {output}"
            )
        cost = _operations(layer, inputs, output)
        # A shared layer computes again with the same weights, also one that two models share.
        new = [weight for weight in _weights(layer) if id(weight) not in counted]
        parameters = sum(math.prod(weight.shape) for weight in new)
        counted.update(map(id, new))
        if parameters or any(cost):
            rows.append(Cost(layer.name, type(layer).__name__, output[1:], parameters, *cost))

    sums = (
        sum(getattr(row, field) for row in rows) for field in ("parameters", "multiplies", "adds", "madds")
    )
    output_shape = keras.tree.flatten(model.outputs)[0].shape[1:]
    return Profile(tuple(rows), Cost("total", "", output_shape, *sums))


def _weights(layer):
    weights = layer.weights if isinstance(layer, keras.layers.Layer) else []
    return [weight for weight in weights if weight.name not in _STATE]


def _input_shapes(node):
    """Shapes of the tensors that a call is given, in the order of the signature, without masks."""
    signature = inspect.signature(node.operation.call)
    # Keras notes down `training` also for layers that do not take it.
    kwargs = {name: value for name, value in node.arguments.kwargs.items() if name in signature.parameters}
    call = signature.bind(*node.arguments.args, **kwargs)
    arguments = [value for name, value in call.arguments.items() if "mask" not in name]
    return [x.shape for x in keras.tree.flatten(arguments) if isinstance(x, keras.KerasTensor)]


def _operations(layer, inputs, output):
    """Multiplies, adds and multiply-adds of a layer for one input, from the shapes of its tensors."""
    if isinstance(layer, keras.Model):
        total = profile(layer).total
        return total.multiplies, total.adds, total.madds
    if isinstance(layer, keras.layers.TimeDistributed):
        (batch, steps, *inner), inner_output = inputs[0], (output[0], *output[2:])
        return tuple(steps * n for n in _operations(layer.layer, [(batch, *inner)], inner_output))
    if hasattr(layer, "cost"):
        return layer.cost(inputs if len(inputs) > 1 else inputs[0])
    return stock_cost(layer, inputs, output)
