"""What dynamic convolutions share: kernels that are mixed anew for every example (DyConv and CondConv)."""

import math
import numbers
from typing import Any

import keras
from keras import ops

from sb_keras.arguments import check_choice, check_positive, check_positive_integer, check_rate
from sb_keras.attention import GATES
from sb_keras.layers.affine import Affine
from sb_keras.layers.channels_last import ChannelsLast
from sb_keras.layers.excitation import Excitation, known_channels


class DynamicConv(ChannelsLast):
    """Base class of `DynamicConv2D` and `DynamicDepthwiseConv2D`: routing and mixing, folding and costs.

    Subclasses convolve, in `call`, and say what shape one kernel has, in `kernel_shape`. The arguments are
    described at `DynamicConv2D`.

    Example:

    ```python
    model = sb_keras.CifarMobileNetV2(width_multiplier=0.35, attention="dyconv")
    dynamic = [layer for layer in model.layers if isinstance(layer, sb_keras.layers.DynamicConv)]
    ```
    """

    def __init__(
        self,
        kernel_size,
        strides=(1, 1),
        padding="same",
        data_format=None,
        dilation_rate=(1, 1),
        activation=None,
        use_bias=True,
        kernel_initializer="glorot_uniform",
        bias_initializer="zeros",
        kernel_regularizer=None,
        bias_regularizer=None,
        activity_regularizer=None,
        kernel_constraint=None,
        bias_constraint=None,
        *,
        experts=4,
        gate="softmax",
        temperature=30.0,
        hidden_units=None,
        dropout=0.0,
        normalize_routing=True,
        **kwargs,
    ):
        super().__init__(data_format, activity_regularizer=activity_regularizer, **kwargs)
        self.kernel_size = _pair(kernel_size, "kernel_size")
        self.strides = _pair(strides, "strides")
        self.padding = check_choice("padding", padding, ("same", "valid"))
        self.dilation_rate = _pair(dilation_rate, "dilation_rate")
        if max(self.strides) > 1 and max(self.dilation_rate) > 1:
            raise ValueError(
                "`strides` or `dilation_rate` must be 1, as in Keras. "
                f"Received: strides={self.strides}, dilation_rate={self.dilation_rate}"
            )
        self.activation = keras.activations.get(activation)
        self.experts = check_positive_integer("experts", experts)
        self.gate = check_choice("gate", gate, GATES)
        self.initial_temperature = check_positive("temperature", temperature)
        self.temperature = None
        if hidden_units is not None:
            hidden_units = check_positive_integer("hidden_units", hidden_units)
        self.hidden_units = hidden_units
        self.dropout = check_rate("dropout", dropout)
        self.use_bias = use_bias
        self.kernel_initializer = keras.initializers.get(kernel_initializer)
        self.bias_initializer = keras.initializers.get(bias_initializer)
        self.kernel_regularizer = keras.regularizers.get(kernel_regularizer)
        self.bias_regularizer = keras.regularizers.get(bias_regularizer)
        self.kernel_constraint = keras.constraints.get(kernel_constraint)
        self.bias_constraint = keras.constraints.get(bias_constraint)
        self.normalize_routing = normalize_routing
        self.input_spec = keras.layers.InputSpec(ndim=4)

    def kernel_shape(self, channels) -> tuple[int, ...]:
        """The shape of one kernel for inputs of `channels`; its last axis are the output channels."""
        raise NotImplementedError(f"{type(self).__name__} must define `kernel_shape`.")

    def build(self, input_shape):
        self.input_spec = known_channels(self, input_shape)
        sizes = zip(input_shape[1:3], self._extents, strict=True)
        if self.padding == "valid" and any(size is not None and size < extent for size, extent in sizes):
            raise ValueError(
                "`kernel_size`, dilated, must not exceed the image where padding is 'valid'. Received: "
                f"kernel_size={self.kernel_size}, dilation_rate={self.dilation_rate}, shape={input_shape}"
            )
        channels = input_shape[-1]
        self.routing_network = Excitation(
            self.experts,
            self.hidden_units or max(1, channels // 4),
            dropout=self.dropout,
            use_bias=True,
            normalize=self.normalize_routing,
            data_format=self.data_format,
            dtype=self.dtype_policy,
            trainable=self.trainable,
            name="routing",
        )
        self.routing_network.build(input_shape)
        kernel_shape = self.kernel_shape(channels)
        self.kernel = self.add_weight(
            shape=(self.experts, *kernel_shape),
            initializer=self._initial_kernels,
            regularizer=self.kernel_regularizer,
            constraint=self._constrain_kernels if self.kernel_constraint else None,
            name="kernel",
        )
        self.bias = None
        if self.use_bias:
            self.bias = self.add_weight(
                shape=kernel_shape[-1:],
                initializer=self.bias_initializer,
                regularizer=self.bias_regularizer,
                constraint=self.bias_constraint,
                name="bias",
            )
        if self.gate == "softmax":
            # A weight, so that a schedule can change it in a compiled step and checkpoints hold it.
            self.temperature = self.add_weight(
                shape=(),
                initializer=keras.initializers.Constant(self.initial_temperature),
                trainable=False,
                name="temperature",
            )

    def _initial_kernels(self, shape, dtype):
        """Draws every kernel on its own: an initializer that saw them stacked would count them as inputs."""
        initializer, config = self.kernel_initializer, self.kernel_initializer.get_config()
        seed = config.get("seed")
        kernels = []
        for expert in range(shape[0]):
            # Called twice, an initializer without seed or with a number draws the same again.
            if "seed" in config and not isinstance(seed, dict):
                seeded = config if seed is None else {**config, "seed": seed + expert}
                initializer = type(initializer).from_config(seeded)
            kernels.append(initializer(shape[1:], dtype))
        return ops.stack(kernels)

    def begin_with(self, kernel):
        """Has every kernel be that of a static convolution: mixed by a softmax, they are that one."""
        one = ops.reshape(kernel, self.kernel.shape[1:])
        self.kernel.assign(ops.broadcast_to(one, self.kernel.shape))

    def _constrain_kernels(self, kernels):
        """Every kernel on its own: a constraint's axes are those of one."""
        constraint: Any = self.kernel_constraint
        return ops.stack([constraint(kernel) for kernel in ops.unstack(kernels, self.experts)])

    def routing(self, inputs, training=None):
        """The mixing coefficients π(x) of shape `(batch, experts)`, of a feature map or its average."""
        z = self.routing_network(inputs, training=training)
        if self.temperature is not None:
            z = z / ops.cast(self.temperature, z.dtype)
        return keras.activations.get(self.gate)(z)

    def mix(self, coefficients):
        """The kernels Σ πₖ Wₖ, one an example: shape `(batch, *kernel shape)`."""
        flat = ops.reshape(self.kernel, (self.experts, -1))
        return ops.reshape(ops.matmul(coefficients, flat), (-1, *self.kernel.shape[1:]))

    def _activate(self, outputs):
        return self.activation(outputs + self.bias if self.use_bias else outputs)

    @property
    def _extents(self):
        """How many pixels the kernel reaches over, in both directions."""
        pairs = zip(self.kernel_size, self.dilation_rate, strict=True)
        return tuple((size - 1) * rate + 1 for size, rate in pairs)

    def _output_size(self, size, axis) -> Any:
        """Output size of a spatial axis: an integer, a tensor, or None where it is not known."""
        if size is None:
            return None
        positions = size if self.padding == "same" else size - self._extents[axis] + 1
        return (positions + self.strides[axis] - 1) // self.strides[axis]

    def compute_output_shape(self, input_shape):
        size = (self._output_size(input_shape[1], 0), self._output_size(input_shape[2], 1))
        return (input_shape[0], *size, self.kernel_shape(input_shape[-1])[-1])

    def cost(self, input_shape):
        """Multiplies, adds and multiply-adds: the routing, the mixing of the kernels, and one convolution."""
        multiplies, adds, products = self.routing_network.cost(input_shape)
        _, height, width, _ = self.compute_output_shape(input_shape)
        experts, *kernel_shape = self.kernel.shape
        mixed = (experts + height * width) * math.prod(kernel_shape)
        return multiplies + mixed, adds + mixed, products + mixed

    def fold(self, inputs, affine=None):
        """The same layer with `affine` and the routing's batch normalizations folded into its weights."""
        config = {**self.get_config(), "dtype": "float32", "normalize_routing": False, "use_bias": True}
        folded = type(self).from_config(config)
        outputs = folded(inputs)
        affine = affine or Affine.identity(self.kernel.shape[-1])
        kernel, bias = affine.fold(self.kernel, self.bias)
        folded.kernel.assign(kernel)
        folded.bias.assign(bias)
        if self.temperature is not None:
            folded.temperature.assign(self.temperature)
        folded.routing_network.set_weights(self.routing_network.folded_weights())
        return outputs

    def get_config(self):
        return {
            **super().get_config(),
            "kernel_size": self.kernel_size,
            "strides": self.strides,
            "padding": self.padding,
            "dilation_rate": self.dilation_rate,
            "activation": keras.activations.serialize(self.activation),
            "experts": self.experts,
            "gate": self.gate,
            "temperature": self.initial_temperature,
            "hidden_units": self.hidden_units,
            "dropout": self.dropout,
            "use_bias": self.use_bias,
            "kernel_initializer": keras.initializers.serialize(self.kernel_initializer),
            "bias_initializer": keras.initializers.serialize(self.bias_initializer),
            "kernel_regularizer": keras.regularizers.serialize(self.kernel_regularizer),
            "bias_regularizer": keras.regularizers.serialize(self.bias_regularizer),
            "activity_regularizer": keras.regularizers.serialize(self.activity_regularizer),
            "kernel_constraint": keras.constraints.serialize(self.kernel_constraint),
            "bias_constraint": keras.constraints.serialize(self.bias_constraint),
            "normalize_routing": self.normalize_routing,
        }


def _pair(value, name):
    pair = tuple(value) if isinstance(value, (list, tuple)) else (value, value)
    if len(pair) != 2 or not all(isinstance(v, numbers.Integral) and int(v) > 0 for v in pair):
        raise ValueError(f"`{name}` must be a positive integer or a pair of them. Received: {name}={value!r}")
    return tuple(int(v) for v in pair)
