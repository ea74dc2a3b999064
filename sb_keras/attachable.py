"""Which convolutions of a trained network can have attention, and what each of them does there."""

import dataclasses
import difflib
from collections.abc import Iterable

import keras

from sb_keras.graph import as_functional, has_graph, nodes, readers_of
from sb_keras.layers.conv import Conv2D
from sb_keras.layers.excitation import ChannelAttention

_NAMED = 5  # convolutions, in a message
# Exactly these: a class derived from one may do something else with its kernel.
_CONVOLUTIONS = (Conv2D, keras.layers.Conv2D, keras.layers.DepthwiseConv2D, keras.layers.SeparableConv2D)


@dataclasses.dataclass
class Convolution:
    """A convolution of the model, and what is known of its place.

    Attributes:
        layer: The layer.
        channels: Number of its input channels.
        is_stem: Whether it is the first on an input.
        obstacle: Why it cannot have attention; None if it can.
    """

    layer: keras.layers.Layer
    channels: int
    is_stem: bool
    obstacle: str | None

    @property
    def is_depthwise(self):
        layer = self.layer
        return type(layer) is keras.layers.DepthwiseConv2D or (
            1 < getattr(layer, "groups", 1) == self.channels == layer.filters
        )

    @property
    def filters(self):
        """Number of output channels."""
        layer = self.layer
        if type(layer) is keras.layers.DepthwiseConv2D:
            return self.channels * layer.depth_multiplier
        return layer.filters

    @property
    def position(self):
        """What it does to the channels: `"depthwise"`, `"expand"` or `"project"`."""
        if self.is_depthwise:
            return "depthwise"
        return "expand" if self.filters > self.channels else "project"


def convolutions(model, on_input=True):
    """Every convolution of a functional model and of the models within it.

    Args:
        model: The model.
        on_input: Whether its inputs are images rather than feature maps: a first convolution is a stem.
    """
    model = as_functional(model)
    graph, calls = nodes(model), []
    readers = readers_of(graph)
    images = {id(tensor) for tensor in keras.tree.flatten(model.inputs) if on_input}
    for node in graph:
        layer = node.operation
        of_images = bool(node.input_tensors) and all(id(tensor) in images for tensor in node.input_tensors)
        if type(layer) in _CONVOLUTIONS:
            source = node.input_tensors[0]
            attended = _has_attention(node.outputs[0], readers)
            calls.append(Convolution(layer, source.shape[-1], of_images, _obstacle(layer, source, attended)))
            continue
        if has_graph(layer):
            calls += convolutions(layer, of_images)
        if of_images and not _mixes_channels(layer):
            images |= {id(tensor) for tensor in node.outputs}
    found = {}
    for each in calls:  # of a layer that is called again, whatever holds for one of the calls
        first = found.setdefault(id(each.layer), each)
        first.is_stem, first.obstacle = first.is_stem or each.is_stem, first.obstacle or each.obstacle
    return list(found.values())


def _has_attention(tensor, readers):
    """Whether attention reads what a convolution makes, or what the normalization behind it makes of that."""
    norms = [
        node.outputs[0]
        for node in readers[id(tensor)]
        if isinstance(node.operation, keras.layers.BatchNormalization)
    ]
    return any(
        isinstance(node.operation, ChannelAttention) and node.input_tensors[1] is not each  # that of a block
        for each in (tensor, *norms)
        for node in readers[id(each)]
    )


def _mixes_channels(layer):
    """Whether a layer on images, or a model of some, has a kernel, so that it is the stem itself."""
    weights = layer.weights if isinstance(layer, keras.layers.Layer) else ()
    return not isinstance(layer, keras.layers.Normalization) and any(len(w.shape) > 1 for w in weights)


def _obstacle(layer, inputs, attended):
    if layer.data_format != "channels_last":
        return f"its data_format is {layer.data_format!r}, expected 'channels_last'"
    if attended:
        return "it has attention already"
    if inputs.shape[1:3] == (1, 1):
        return "it sees maps of 1×1, as the dense layers of a Squeeze-and-Excite block do"
    return None


def _not_dynamic(each):
    """Why a dynamic convolution cannot take a layer's place; None if it can."""
    layer = each.layer
    if type(layer) is keras.layers.SeparableConv2D:
        return "dynamic convolutions are not separable"
    if set(layer.dilation_rate) != {1} or getattr(layer, "groups", 1) != 1:
        return "dynamic convolutions have neither dilation nor groups"
    if getattr(layer, "depthwise_constraint", None):
        return "the kernels of a dynamic depthwise convolution have other axes than its constraint knows"
    if each.is_depthwise and (layer.depth_multiplier != 1 or len(set(layer.strides)) > 1):
        return "dynamic depthwise convolutions have a depth multiplier of 1 and equal strides"
    return None


def choose(model, attention, layers):
    """The convolutions of a model that get attention: see `sb_keras.attach`.

    Raises:
        ValueError: If one that is asked for is unknown or cannot have it, or there is none.
    """
    found = convolutions(model)
    if attention.kind == "dyconv":
        for each in found:
            each.obstacle = each.obstacle or _not_dynamic(each)
    wrong_format = [each for each in found if each.layer.data_format != "channels_last"]
    if layers is None:
        chosen = [
            each
            for each in found
            if each.position in attention.positions and not each.is_stem and not each.obstacle
        ]
        refused = wrong_format
    else:
        wanted = layers if callable(layers) else _named(found, layers)
        chosen = [each for each in found if wanted(each.layer)]
        refused = [each for each in chosen if each.obstacle]
    if refused:
        raise ValueError(f"Cannot attach attention to layer '{refused[0].layer.name}': {refused[0].obstacle}")
    if not chosen:
        if layers is not None:
            raise ValueError("`layers` must choose convolutions of the model. Received: a choice of none")
        reasons = [f"'{each.layer.name}': {_reason(each, attention)}" for each in found]
        more = f"; and {len(reasons) - _NAMED} more" if len(reasons) > _NAMED else ""
        raise ValueError(
            "Expected a model with convolutions that are to have attention. Received: "
            f"{'; '.join(reasons[:_NAMED]) or 'no convolutions'}{more}"
        )
    return chosen


def _reason(each, attention):
    """Why a convolution gets no attention where nobody names it."""
    if each.obstacle or each.is_stem:
        return each.obstacle or "it is the stem"
    return f"its position is {each.position!r}, `positions` are {', '.join(attention.positions)}"


def _named(found, names):
    """A function that tells whether a layer has one of the names."""
    received = [names] if isinstance(names, str) or not isinstance(names, Iterable) else list(names)
    if not all(isinstance(name, str) for name in received):
        raise ValueError(f"`layers` must be names, or a function of a layer. Received: {names!r}")
    names = set(received)
    known = {each.layer.name for each in found}
    for name in sorted(names - known):
        close = difflib.get_close_matches(name, known, 1)
        hint = f"; did you mean {close[0]!r}?" if close else ""
        raise ValueError(f"`layers` must name convolutions of the model. Received: {name!r}{hint}")
    return lambda layer: layer.name in names
