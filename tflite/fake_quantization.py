"""A network that computes in floats what TFLite will compute in 8-bit integers, so that it can be trained.

TFMOT's own recipe, `quantize_model`, does not suit folded networks: it leaves kernels in front of a ReLU
unrounded, gives all channels of a depthwise kernel one scale
(https://github.com/tensorflow/model-optimization/issues/808), refuses products, and starts every range at
±6, from where its moving average takes thousands of steps to the activations. Here TFMOT is told for
every layer what to round, and from which range on.

What is rounded: each kernel, with a scale a channel; each tensor that TFLite keeps, unless TFLite itself
fixes its range (sigmoid, tanh, softmax), the layer only moves values (reshaping), or the next layer
is a ReLU, which TFLite computes together with this one.
"""

import keras
import numpy as np
import tensorflow as tf

from recipes.errors import UserError
from sb_keras.tf_keras_bridge import to_tf_keras
from tflite.quantize import without_idle_clamps
from tflite.tfmot import tf_keras, tfmot

CALIBRATION_BATCHES = 20

_layers = tf_keras.layers
_KERNELS = {_layers.Conv2D: "kernel", _layers.Dense: "kernel", _layers.DepthwiseConv2D: "depthwise_kernel"}
_COMPUTING = (
    *_KERNELS,
    _layers.Add,
    _layers.AveragePooling2D,
    _layers.Concatenate,
    _layers.GlobalAveragePooling2D,
    _layers.Multiply,
    _layers.ReLU,
    _layers.Subtract,
)
_MOVING = (
    _layers.Cropping2D,
    _layers.Flatten,
    _layers.MaxPooling2D,
    _layers.Permute,
    _layers.Reshape,
    _layers.UpSampling2D,
    _layers.ZeroPadding2D,
)
# Keras layers that end in an activation, which here becomes a layer of its own.
_ACTIVATING = (keras.layers.Conv2D, keras.layers.Dense, keras.layers.DepthwiseConv2D)
_FIXED_RANGE = ("sigmoid", "tanh", "softmax")


def emulate_integers(model, batches, input_range=None):
    """Rebuilds a folded Keras model as a tf_keras model with rounding in it.

    Args:
        model: A functional Keras model of stock layers, without normalization.
        batches: A `tf.data.Dataset` of batches of images; the first ones give the ranges to start from.
        input_range: Lowest and highest value of an image, if known; otherwise that of those batches.

    Returns:
        A `tf_keras.Model`, to be trained.

    Raises:
        UserError: If a layer is of a kind that is not known here; the message names it.
    """
    floats = to_tf_keras(_with_activation_layers(model))
    for layer in floats.layers:
        _check(layer)
    _, first, *_ = floats.layers
    ranges = _ranges(floats, [layer for layer in floats.layers if _has_range(layer)], batches)
    quantizers = {name: RangeQuantizer(low, high) for name, (low, high) in ranges.items()}
    quantizers[first.name] = RangeQuantizer(*input_range or ranges[first.name], moves=False)

    def wrap(layer):
        if type(layer) is _layers.Reshape:
            return _Reshape.from_config(layer.get_config())
        kernel, quantizer = _KERNELS.get(type(layer)), quantizers.get(layer.name)
        if kernel is None and quantizer is None:
            return layer
        return tfmot.quantization.keras.QuantizeWrapperV2(layer, Rounding(kernel, quantizer))

    return tf_keras.models.clone_model(floats, clone_function=wrap)


def to_integers(model, input_name, output_names):
    """Converts what `emulate_integers` made to a .tflite file with int8 input and output.

    Args:
        model: The model.
        input_name: Name of the input in the file's signature.
        output_names: Names of the outputs there.

    Returns:
        The bytes of the .tflite file.
    """
    (source,) = model.inputs
    image = tf.TensorSpec((1, *source.shape[1:]), tf.float32, name=input_name)

    @tf.function(input_signature=[image], autograph=False)
    def serve(image):
        outputs = tf.nest.flatten(model(image, training=False))
        return dict(zip(output_names, outputs, strict=True))

    # The converter makes constants of the weights that it finds here; the model itself it would trace anew.
    tracked = tf.train.Checkpoint(weights=model.weights)
    converter = tf.lite.TFLiteConverter.from_concrete_functions([serve.get_concrete_function()], tracked)
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    converter.inference_input_type = converter.inference_output_type = tf.int8
    return without_idle_clamps(converter.convert())


class _Reshape(_layers.Reshape):
    """One that does not leave the size of the batch, which is 1 there, in the file."""

    def call(self, inputs):
        return tf.reshape(inputs, (-1, *self.compute_output_shape(inputs.shape)[1:]))


class Rounding(tfmot.quantization.keras.QuantizeConfig):
    """What TFMOT is to round in a layer.

    Args:
        kernel: Attribute of the layer that holds its kernel; None for no kernel.
        output: A `RangeQuantizer`; None for an output that is not rounded.
    """

    def __init__(self, kernel, output):
        self.kernel, self.output = kernel, output

    def get_weights_and_quantizers(self, layer):
        return [(getattr(layer, self.kernel), KernelQuantizer(self.kernel))] if self.kernel else []

    def set_quantize_weights(self, layer, quantize_weights):
        if self.kernel:
            setattr(layer, self.kernel, *quantize_weights)

    def get_output_quantizers(self, layer):
        return [self.output] if self.output else []

    def get_activations_and_quantizers(self, layer):
        return []

    def set_quantize_activations(self, layer, quantize_activations):
        pass

    def get_config(self):
        return vars(self)


class KernelQuantizer(tfmot.quantization.keras.quantizers.Quantizer):
    """Rounds a kernel in training to −127 … 127 times a scale a channel, the largest magnitude over 127.

    Otherwise the kernel passes as it is: the converter rounds it in the same way.
    """

    def __init__(self, kernel):
        self.kernel = kernel

    def build(self, tensor_shape, name, layer):
        return {}

    def __call__(self, inputs, training, weights, **kwargs):
        if not training:
            return inputs
        # TensorFlow's channels are the last axis; a depthwise kernel's are the last but one, or both.
        flat = tf.reshape(inputs, (-1, np.prod(inputs.shape[2:]))) if "depthwise" in self.kernel else inputs
        limits = tf.reduce_max(tf.abs(flat), axis=list(range(len(flat.shape) - 1)))
        limits = tf.stop_gradient(tf.maximum(limits, 1e-9))  # a channel of zeros
        rounded = tf.quantization.fake_quant_with_min_max_vars_per_channel(
            flat, -limits, limits, num_bits=8, narrow_range=True
        )
        return tf.reshape(rounded, inputs.shape)

    def get_config(self):
        return vars(self)


class RangeQuantizer(tfmot.quantization.keras.quantizers.MovingAverageQuantizer):
    """TFMOT's rounding to the moving average of a tensor's range, which starts at a given one.

    Args:
        low: Lower end of the range at first.
        high: Upper end.
        moves: Whether the range follows the tensor in training.
    """

    def __init__(self, low, high, moves=True):
        super().__init__(num_bits=8, per_axis=False, symmetric=False, narrow_range=False)
        self.low, self.high, self.moves = low, high, moves

    def build(self, tensor_shape, name, layer):
        return {
            key: layer.add_weight(
                f"{name}_{key}", initializer=tf_keras.initializers.Constant(value), trainable=False
            )
            for key, value in (("min_var", self.low), ("max_var", self.high))
        }

    def __call__(self, inputs, training, weights, **kwargs):
        return super().__call__(inputs, training and self.moves, weights, **kwargs)

    def get_config(self):
        return {"low": self.low, "high": self.high, "moves": self.moves}


def _with_activation_layers(model):
    """The same Keras model with activations as layers of their own, and one that does nothing at first.

    Swish becomes x · σ(x), two layers, as in TFLite.
    """
    copies = {}

    def call(layer, *args, **kwargs):
        function = getattr(layer, "activation", keras.activations.linear)
        if isinstance(layer, keras.layers.Activation) and function is keras.activations.silu:
            if layer not in copies:
                copies[layer] = _activation(function, layer.name)
            return copies[layer](*args)
        if not isinstance(layer, _ACTIVATING) or function is keras.activations.linear:
            return layer(*args, **kwargs)
        if layer not in copies:
            linear = type(layer).from_config({**layer.get_config(), "activation": "linear"})
            copies[layer] = linear, _activation(function, f"{layer.name}_{function.__name__}")
        linear, activation = copies[layer]
        outputs = activation(linear(*args, **kwargs))
        linear.set_weights(layer.get_weights())
        return outputs

    separated = keras.models.clone_model(model, clone_function=lambda layer: layer, call_function=call)
    (source,) = model.inputs
    inputs = keras.Input(source.shape[1:], name=source.name)
    rounded = keras.layers.Activation("linear", name=f"{source.name}_rounded")(inputs)
    return keras.Model(inputs, separated(rounded), name=model.name)


def _activation(function, name):
    if function is not keras.activations.silu:
        return keras.layers.Activation(function, name=name)
    sigmoid = keras.layers.Activation("sigmoid", name=f"{name}_sigmoid")
    product = keras.layers.Multiply(name=name)
    return lambda x: product([x, sigmoid(x)])


def _check(layer):
    name = getattr(getattr(layer, "activation", None), "__name__", "linear")
    known = isinstance(layer, (*_COMPUTING, *_MOVING, _layers.InputLayer)) or (
        isinstance(layer, _layers.Activation) and name in (*_FIXED_RANGE, "linear", "relu", "relu6")
    )
    if not known or len(layer.inbound_nodes) > 1:
        received = f"{type(layer).__name__}" + (f" '{name}'" if isinstance(layer, _layers.Activation) else "")
        raise UserError(
            f"layer '{layer.name}' cannot be rounded in training: expected one of the layers that folded "
            f"networks have, called once. Received: {received}, called {len(layer.inbound_nodes)} times"
        )


def _is_relu(layer):
    return isinstance(layer, _layers.ReLU) or (
        isinstance(layer, _layers.Activation) and layer.activation.__name__ in ("relu", "relu6")
    )


def _has_range(layer):
    """Whether TFLite keeps the layer's output, in a range that is for us to choose."""
    readers = [node.layer for node in layer.outbound_nodes]
    if isinstance(layer, (*_MOVING, _layers.InputLayer)) or (len(readers) == 1 and _is_relu(readers[0])):
        return False
    return not isinstance(layer, _layers.Activation) or layer.activation.__name__ not in _FIXED_RANGE


def _ranges(model, layers, batches):
    """By layer its lowest and highest output, averaged over batches: what the moving average tends to."""
    observer = tf_keras.Model(model.input, [layer.output for layer in layers])

    @tf.function
    def extremes(images):
        return [(tf.reduce_min(x), tf.reduce_max(x)) for x in tf.nest.flatten(observer(images))]

    found = np.mean([extremes(images) for images in batches.take(CALIBRATION_BATCHES)], axis=0)
    # An integer must stand for zero, which pads.
    return {
        layer.name: (min(float(low), 0.0), max(float(high), 0.0))
        for layer, (low, high) in zip(layers, found, strict=True)
    }
