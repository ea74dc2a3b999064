"""Folding: a trained network as the same function in stock Keras layers, without batch normalization.

BN(x) = γ (x − μ) / σ + β is an affine map of every channel. Behind a convolution it goes into the kernel
and the bias. Behind Shift-and-Balance it goes through the sum, into both branches:

    BN(T + λ A) = (γ/σ) T + (β − γ μ/σ) + (γ/σ) λ A = T′ + λ′ A

where T′ is the trunk's convolution with the map folded in. Inside the attention branch both normalizations
go into the fully connected layers. Squeeze-and-Excite multiplies, so that the shift cannot pass: there, as
behind anything else, the normalization becomes a 1×1 depthwise convolution with a bias, which
converters fuse with the activation.
"""

import keras

from sb_keras.graph import as_functional, node_of, nodes, operation_of
from sb_keras.layers.affine import Affine, to_numpy
from sb_keras.layers.conv import Conv2D
from sb_keras.layers.dynamic_conv import DynamicConv
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
_TRAINING_ONLY = (keras.layers.Dropout, keras.layers.SpatialDropout2D, keras.layers.GaussianNoise)


def fold(model):
    """Returns the same function as `model` in inference mode, in stock Keras layers, without normalization.

    Layers keep their names, so that feature maps are found by the same names as before; a folded
    normalization is gone, and an attention layer becomes a few layers whose names begin with its own.
    Dynamic convolutions have no stock equivalent: they stay, with the normalizations folded into their
    kernels and routing. `ChannelShuffle` stays where the image size is unknown. The result is in float32,
    whatever the policy of `model`, shares nothing with it, and is meant for inference.

    Args:
        model: A functional or sequential Keras model, built with this package or with stock layers.
            Models within the model are folded too.

    Returns:
        A functional `keras.Model` with the inputs and outputs of `model`.

    Raises:
        ValueError: If the model is not functional, or has a batch normalization that no stock layer
            can replace; the message names the layer.

    Example:

    ```python
    model = sb_keras.CifarMobileNetV2(width_multiplier=0.35, attention="sb")
    folded = sb_keras.fold(model)
    ```
    """
    model = as_functional(model)
    calls = [node.operation for node in nodes(model)]
    absorbed = _absorbed(model)
    gone = {norm for norm, _ in absorbed.values()}
    copies = {}  # what is called again has the same weights again

    def call(layer, *args, **kwargs):
        if layer in gone or isinstance(layer, _TRAINING_ONLY):
            return args[0]
        if not isinstance(layer, keras.layers.Layer):
            return layer(*args, **kwargs)
        if isinstance(layer, keras.layers.BatchNormalization):
            kwargs = {}  # Keras notes down `mask`, which no convolution takes
        if layer in copies:
            return copies[layer](*args, **kwargs)
        _, affine = absorbed.get(layer, (None, None))
        if hasattr(layer, "fold"):
            if calls.count(layer) == 1:
                return layer.fold(*args, affine=affine)
            inputs = keras.tree.map_structure(lambda x: keras.Input((None, None, x.shape[-1])), args[0])
            copies[layer] = keras.Model(inputs, layer.fold(inputs), name=layer.name)
            return copies[layer](*args)
        copies[layer], weights = _copy(layer, affine)
        outputs = copies[layer](*args, **kwargs)
        copies[layer].set_weights(weights)
        if isinstance(layer, keras.layers.Normalization):
            copies[layer].finalize_state()  # it computes with something derived from its weights
        return outputs

    return keras.models.clone_model(model, clone_function=lambda layer: layer, call_function=call)


def _absorbed(model):
    """For every layer that a batch normalization goes into: the latter and its map."""
    graph = nodes(model)
    readers = {}
    for node in graph:
        for tensor in node.input_tensors:
            readers.setdefault(id(tensor), []).append(node)
    outputs = {id(tensor) for tensor in model.outputs}
    calls = [node.operation for node in graph]

    def absorbers(tensor):
        """The layers into which a map of `tensor` goes; none if it cannot."""
        layer = operation_of(tensor)
        if id(tensor) in outputs or len(readers[id(tensor)]) > 1 or calls.count(layer) > 1:
            return []
        if isinstance(layer, ShiftBalance):
            found = absorbers(node_of(tensor).input_tensors[0])
            return [*found, layer] if found else []
        linear = (
            (type(layer) in _LINEAR or isinstance(layer, DynamicConv))
            and layer.activation is keras.activations.linear
            and getattr(layer, "data_format", "channels_last") == "channels_last"
        )
        return [layer] if linear else []

    absorbed = {}
    for node in graph:
        norm = node.operation
        if isinstance(norm, keras.layers.BatchNormalization):
            (tensor,) = node.input_tensors
            found = absorbers(tensor) if calls.count(norm) == 1 else []
            _check_foldable(norm, node, found)
            absorbed |= {layer: (norm, Affine.of(norm)) for layer in found}
    return absorbed


def _check_foldable(norm, node, absorbers):
    (tensor,), kwargs = node.input_tensors, node.arguments.kwargs
    rank = len(tensor.shape)
    if norm.axis % rank != rank - 1 or norm.renorm or kwargs.get("training"):
        raise ValueError(
            f"Cannot fold layer '{norm.name}': expected a batch normalization of the last axis, without "
            f"renorm and not called with training=True. Received: axis={norm.axis}, renorm={norm.renorm}, "
            f"call arguments {kwargs}"
        )
    if not absorbers and rank != 4:
        raise ValueError(
            f"Cannot fold layer '{norm.name}': expected it behind a linear convolution or dense layer, or "
            f"on a feature map of rank 4. Received input shape: {tensor.shape}"
        )


def _copy(layer, affine):
    """A layer for `layer` and then `affine` (None for none), and its weights."""
    if isinstance(layer, keras.Model):
        folded = fold(layer)
        return folded, folded.get_weights()
    if isinstance(layer, keras.layers.BatchNormalization):
        affine = Affine.of(layer)
        depthwise = keras.layers.DepthwiseConv2D(
            1, data_format="channels_last", dtype="float32", name=layer.name
        )
        return depthwise, [affine.scale.reshape(1, 1, -1, 1), affine.shift]
    config = {**layer.get_config(), "dtype": "float32"}
    stock = keras.layers.Conv2D if type(layer) is Conv2D else type(layer)
    if affine is None:
        return stock.from_config(config), layer.get_weights()
    # Output channels are the last axis, or, with a depthwise kernel, the last two.
    kernel = to_numpy(layer.kernel)
    folded, bias = affine.fold(kernel.reshape(-1, affine.scale.size), layer.bias)
    return stock.from_config({**config, "use_bias": True}), [folded.reshape(kernel.shape), bias]
