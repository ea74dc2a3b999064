"""Folding: a trained network as the same function in stock Keras layers, without batch normalization.

BN(x) = γ (x − μ) / σ + β is an affine map of every channel. Behind a convolution it goes into the kernel
and the bias. Behind Shift-and-Balance it goes through the sum, into both branches:

    BN(T + λ A) = (γ/σ) T + (β − γ μ/σ) + (γ/σ) λ A = T′ + λ′ A

where T′ is the trunk's convolution with the map folded in. Inside the attention branch both normalizations
go into the fully connected layers. Squeeze-and-Excite multiplies, so that the shift cannot pass: there, as
behind anything else, the normalization becomes a 1×1 depthwise convolution with a bias, which
converters fuse with the activation. In front of a dense layer, as in the usual heads of transfer learning,
it goes into that one: W (γ (x − μ) / σ + β) + b = (W γ/σ) x + W (β − γ μ/σ) + b.
"""

import keras

from sb_keras.graph import (
    as_functional,
    inner_layers,
    new_lambda,
    node_of,
    nodes,
    only_input,
    operation_of,
    readers_of,
)
from sb_keras.idle import is_idle, trains_by_default
from sb_keras.layers.affine import Affine, to_numpy
from sb_keras.layers.channels_last import ChannelsLast
from sb_keras.layers.context import GlobalContext
from sb_keras.layers.conv import Conv2D
from sb_keras.layers.dynamic_conv import DynamicConv
from sb_keras.layers.excitation import ChannelAttention
from sb_keras.layers.shift_balance import ShiftBalance

# Exactly these: a class derived from one may do something else with its kernel.
_LINEAR = (
    Conv2D,
    keras.layers.Conv1D,
    keras.layers.Conv2D,
    keras.layers.Conv3D,
    keras.layers.Dense,
    keras.layers.DepthwiseConv1D,
    keras.layers.DepthwiseConv2D,
)


def fold(model):
    """Returns the same function as `model` in inference mode, in stock Keras layers, without normalization.

    Layers keep their names, so that feature maps are found by the same names as before; a folded
    normalization is gone, and an attention layer becomes a few layers whose names begin with its own.
    Dropout, Keras's random augmentation, and whatever else changes nothing at inference, are gone too, and
    low-rank parts (`enable_lora`) are added to their kernels.
    Dynamic convolutions have no stock equivalent: they stay, with the normalizations folded into their
    kernels and routing. `ChannelShuffle` stays where the image size is unknown. The result is in float32,
    whatever the policy of `model`, shares nothing with it, and is meant for inference. Keras's `export`
    writes it, as it does `model`, to SavedModel, ONNX (once it was called), OpenVINO (whose first output is
    the model's) and LiteRT, for any batch.

    Args:
        model: A functional or sequential Keras model, built with this package or with stock layers.
            Models within the model are folded too.

    Returns:
        A functional `keras.Model` with the inputs and outputs of `model`.

    Raises:
        ValueError: If the model is not functional, has layers that `quantize` made integers of, or has a
            batch normalization that no stock layer can replace; the message names the layer.

    Example:

    ```python
    model = sb_keras.CifarMobileNetV2(width_multiplier=0.35, attention="sb")
    folded = sb_keras.fold(model)
    ```
    """
    model = as_functional(model)
    _check_not_quantized(model)
    graph = nodes(model)
    calls = [node.operation for node in graph]
    idle = set(calls) - {node.operation for node in graph if not is_idle(node)}
    absorbed, followed = _absorbed(model, graph, idle)
    gone = idle | {norm for norm, _ in (*absorbed.values(), *followed.values())}
    read_as_vectors = _read_as_vectors(model, graph)
    copies = {}  # what is called again has the same weights again

    def call(layer, *args, **kwargs):
        if layer in gone:
            return only_input(args, kwargs)
        if not isinstance(layer, keras.layers.Layer):
            return layer(*args, **kwargs)
        if isinstance(layer, keras.layers.BatchNormalization):
            x = only_input(args, kwargs)
            if layer not in copies:
                copies[layer] = _as_convolution(layer, x.shape)
            for step in copies[layer]:
                x = step(x)
            return x
        if isinstance(layer, GlobalContext):
            if layer not in copies:
                copies[layer] = layer.fold(as_map=layer not in read_as_vectors)
            x = only_input(args, kwargs)
            return [x, copies[layer](x)]
        if trains_by_default(layer):
            kwargs["training"] = False
        if layer in copies:
            return copies[layer](*args, **kwargs)
        (_, affine), (_, preceding) = (maps.get(layer, (None, None)) for maps in (absorbed, followed))
        if isinstance(layer, ChannelsLast) and hasattr(layer, "fold"):
            x = only_input(args, kwargs)
            if calls.count(layer) == 1:
                return layer.fold(x, affine=affine)
            inputs = keras.tree.map_structure(_any_size, x)
            copies[layer] = keras.Model(inputs, layer.fold(inputs), name=layer.name)
            return copies[layer](x)
        copies[layer], weights = _copy(layer, affine, preceding)
        outputs = copies[layer](*args, **kwargs)
        copies[layer].set_weights(weights)
        if isinstance(layer, keras.layers.Normalization):
            copies[layer].finalize_state()  # it computes with something derived from its weights
        return outputs

    return keras.models.clone_model(model, clone_function=lambda layer: layer, call_function=call)


def _any_size(tensor):
    """An input like a tensor, of feature maps of any size."""
    channels = tensor.shape[-1]
    return keras.Input((None, None, channels) if len(tensor.shape) == 4 else (channels,))


def _read_as_vectors(model, graph):
    """The `GlobalContext` layers whose average is read by something else than attention."""
    found = {operation_of(tensor) for tensor in model.outputs if len(tensor.shape) == 2}
    for node in graph:
        if not isinstance(node.operation, ChannelAttention):
            found |= {operation_of(tensor) for tensor in node.input_tensors if len(tensor.shape) == 2}
    return {layer for layer in found if isinstance(layer, GlobalContext)}


def _absorbed(model, graph, idle):
    """For every layer that a batch normalization goes into: the latter and its map.

    Returns:
        Two dictionaries: of normalizations behind the layer, and of those in front of it.
    """
    readers = readers_of(graph)
    outputs = {id(tensor) for tensor in model.outputs}
    calls = [node.operation for node in graph]

    def absorbers(tensor):
        """The layers into which a map of `tensor` goes; none if it cannot."""
        layer = operation_of(tensor)
        if id(tensor) in outputs or len(readers[id(tensor)]) > 1 or calls.count(layer) > 1:
            return []
        if layer in idle:
            return absorbers(*node_of(tensor).input_tensors)
        if isinstance(layer, ShiftBalance):
            found = absorbers(node_of(tensor).input_tensors[0])
            return [*found, layer] if found else []
        linear = (
            (type(layer) in _LINEAR or isinstance(layer, DynamicConv))
            and layer.activation is keras.activations.linear
            and getattr(layer, "data_format", "channels_last") == "channels_last"
        )
        return [layer] if linear else []

    def dense_behind(tensor):
        """The dense layer that alone reads `tensor`; None if there is none."""
        if id(tensor) in outputs or len(readers[id(tensor)]) != 1:
            return None
        (reader,) = readers[id(tensor)]
        layer = reader.operation
        if layer in idle and calls.count(layer) == 1:
            return dense_behind(*reader.outputs)
        return layer if type(layer) is keras.layers.Dense and calls.count(layer) == 1 else None

    absorbed, followed = {}, {}
    for node in graph:
        norm = node.operation
        if isinstance(norm, keras.layers.BatchNormalization):
            tensor, *_ = node.input_tensors  # a mask may be behind it
            _check_foldable(norm, node, calls.count(norm))
            found = absorbers(tensor) if calls.count(norm) == 1 else []
            absorbed |= {layer: (norm, Affine.of(norm)) for layer in found}
            behind = dense_behind(*node.outputs) if not found and calls.count(norm) == 1 else None
            if behind is not None:
                followed[behind] = norm, Affine.of(norm)
    return absorbed, followed


def _check_not_quantized(model):
    for layer in inner_layers(model):
        if layer.quantization_mode is not None:
            raise ValueError(
                f"Cannot fold layer '{layer.name}': expected weights in floating point. Received: a layer "
                f"quantized by `quantize({layer.quantization_mode!r})`; fold or convert the model as it was "
                "before, `tflite.convert` makes 8-bit integers itself"
            )


def _check_foldable(norm, node, calls):
    (tensor, *_), kwargs = node.input_tensors, node.arguments.kwargs
    rank = len(tensor.shape)
    if norm.axis % rank != rank - 1 or norm.renorm or kwargs.get("training"):
        raise ValueError(
            f"Cannot fold layer '{norm.name}': expected a batch normalization of the last axis, without "
            f"renorm and not called with training=True. Received: axis={norm.axis}, renorm={norm.renorm}, "
            f"call arguments {kwargs}"
        )
    if rank > 4 and (calls > 1 or tensor.shape[1:-1].count(None) > 1):
        raise ValueError(
            f"Cannot fold layer '{norm.name}': expected an input of rank 2 to 4, or one call and at most "
            f"one size that is unknown. Received: shape {tensor.shape}, {calls} calls"
        )


def _as_convolution(norm, shape):
    """Layers that do what a normalization does: a 1×1 depthwise convolution with a bias, on a feature map."""
    affine, channels, is_map = Affine.of(norm), shape[-1], len(shape) == 4
    depthwise = keras.layers.DepthwiseConv2D(
        1, data_format="channels_last", dtype="float32", name=norm.name if is_map else f"{norm.name}_scale"
    )
    depthwise.build((None, None, None, channels))
    depthwise.set_weights([affine.scale.reshape(1, 1, -1, 1), affine.shift])
    if is_map:
        return [depthwise]
    as_map = keras.layers.Reshape((-1, 1, channels), dtype="float32", name=f"{norm.name}_map")
    inner = [-1 if size is None else size for size in shape[1:-1]]
    return [as_map, depthwise, keras.layers.Reshape((*inner, channels), dtype="float32", name=norm.name)]


def _copy(layer, after, before):
    """A layer for the affine map `before`, `layer` and the map `after` (None for none), and its weights."""
    if isinstance(layer, keras.Model):
        folded = fold(layer)
        return folded, folded.get_weights()
    if isinstance(layer, keras.layers.Lambda):
        return new_lambda(layer), []
    config, weights = {**layer.get_config(), "dtype": "float32"}, merged_weights(layer)
    if getattr(layer, "lora_enabled", False):
        config = {**config, "lora_rank": None, "lora_alpha": None}
    stock = keras.layers.Conv2D if type(layer) is Conv2D else type(layer)
    if before is None and after is None:
        return stock.from_config(config), weights
    kernel, bias = weights[0], weights[1] if layer.use_bias else None
    if before is not None:
        kernel, bias = before.fold_in_front(kernel, bias)
    if after is not None:
        # Output channels are the last axis, or, with a depthwise kernel, the last two.
        folded, bias = after.fold(kernel.reshape(-1, after.scale.size), bias)
        kernel = folded.reshape(kernel.shape)
    return stock.from_config({**config, "use_bias": True}), [kernel, bias]


def merged_weights(layer):
    """A layer's weights, with low-rank parts (LoRA) added: W + α/r A B."""
    parts, low_rank = {}, set()
    for each in (layer, *inner_layers(layer)):
        if not getattr(each, "lora_enabled", False):
            continue
        own = {weight.name: weight for weight in each.weights}
        (left,), (right,) = (
            [w for name, w in own.items() if name.startswith("lora_") and name.endswith(end)]
            for end in ("_a", "_b")
        )
        low_rank |= {id(left), id(right)}
        product = each.lora_alpha / each.lora_rank * to_numpy(left) @ to_numpy(right)
        parts[id(own[left.name.removeprefix("lora_").removesuffix("_a")])] = product
    if not parts:
        return layer.get_weights()
    return [to_numpy(w) + parts.get(id(w), 0) for w in layer.weights if id(w) not in low_rank]
