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

from sb_keras.graph import nodes
from sb_keras.layers.affine import Affine, call_with
from sb_keras.layers.dynamic_conv import DynamicConv2D, DynamicDepthwiseConv2D
from sb_keras.layers.shift_balance import ShiftBalance

_CONVS = (keras.layers.Conv1D, keras.layers.Conv2D, keras.layers.Conv3D, keras.layers.Dense)
_DYNAMIC = (DynamicConv2D, DynamicDepthwiseConv2D)
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
    if isinstance(model, keras.Sequential) and model.built:
        model = keras.Model(model.inputs, model.outputs, name=model.name)
    absorbed = _absorbed(model)  # layer name -> the affine map that goes into it
    gone = {name for name, _ in absorbed.values()}

    def call(layer, *args, **kwargs):
        if layer.name in gone or isinstance(layer, _TRAINING_ONLY):
            return args[0]
        _, affine = absorbed.get(layer.name, (None, None))
        return _call_folded(layer, affine, args, kwargs)

    return keras.models.clone_model(model, clone_function=lambda layer: layer, call_function=call)


def _absorbed(model):
    """For every layer that a batch normalization goes into: the latter's name and its map."""
    graph = nodes(model)
    readers = {}
    for node in graph:
        for tensor in node.input_tensors:
            readers.setdefault(id(tensor), []).append(node)
    outputs = {id(tensor) for tensor in keras.tree.flatten(model.outputs)}
    calls = [node.operation for node in graph]

    def absorbers(tensor, affine):
        """The layers that take up `affine` so that `tensor` is mapped by it; None if they cannot."""
        layer, node_index, _ = tensor._keras_history
        if id(tensor) in outputs or len(readers[id(tensor)]) > 1 or calls.count(layer) > 1:
            return None
        if isinstance(layer, ShiftBalance):
            trunk, _ = layer._inbound_nodes[node_index].input_tensors
            found = absorbers(trunk, affine)
            return None if found is None else {**found, layer.name: affine}
        if isinstance(layer, _DYNAMIC):
            return {layer.name: affine}
        linear = getattr(layer, "activation", None) is keras.activations.linear
        if isinstance(layer, (*_CONVS, keras.layers.DepthwiseConv2D)) and linear:
            return {layer.name: affine}
        return None

    absorbed = {}
    for node in graph:
        norm = node.operation
        if isinstance(norm, keras.layers.BatchNormalization) and calls.count(norm) == 1:
            (tensor,) = node.input_tensors
            _check_foldable(norm, tensor)
            found = absorbers(tensor, Affine.of(norm)) or {}
            absorbed |= {name: (norm.name, affine) for name, affine in found.items()}
    return absorbed


def _check_foldable(norm, tensor):
    axis = norm.axis % len(tensor.shape)
    if axis != len(tensor.shape) - 1 or norm.renorm:
        raise ValueError(
            f"Cannot fold layer '{norm.name}': expected a batch normalization of the last axis, without "
            f"renorm. Received: axis={norm.axis}, renorm={norm.renorm}"
        )


def _call_folded(layer, affine, args, kwargs):
    if hasattr(layer, "fold"):
        return layer.fold(*args, affine=affine)
    if isinstance(layer, keras.Model):
        return fold(layer)(*args)
    if isinstance(layer, keras.layers.BatchNormalization):
        return _depthwise(layer, args[0])
    if not isinstance(layer, keras.layers.Layer):
        return layer(*args, **kwargs)

    config = {**layer.get_config(), "dtype": "float32"}
    if affine is None:
        copy = type(layer).from_config(config)
        outputs = copy(*args, **kwargs)
        copy.set_weights(layer.get_weights())
        return outputs
    if isinstance(layer, keras.layers.DepthwiseConv2D):
        # Output channel c · M + m comes from input channel c: the kernel's last two axes are the output's.
        shape = layer.kernel.shape
        kernel, bias = affine.fold(keras.ops.reshape(layer.kernel, (*shape[:2], -1)), layer.bias)
        kernel = kernel.reshape(shape)
    else:
        kernel, bias = affine.fold(layer.kernel, layer.bias)
    return call_with(type(layer).from_config({**config, "use_bias": True}), args[0], kernel, bias)


def _depthwise(norm, inputs):
    """A batch normalization that nothing absorbs, as a 1×1 depthwise convolution."""
    if len(inputs.shape) != 4:
        raise ValueError(
            f"Cannot fold layer '{norm.name}': expected it behind a linear convolution or dense layer, or "
            f"on a feature map of rank 4. Received input shape: {inputs.shape}"
        )
    affine = Affine.of(norm)
    depthwise = keras.layers.DepthwiseConv2D(1, data_format="channels_last", name=norm.name)
    return call_with(depthwise, inputs, affine.scale.reshape(1, 1, -1, 1), affine.shift)
