"""Dynamic convolutions: kernels that are mixed anew for every example (DyConv and CondConv)."""

import numbers
from typing import Any

import keras
from keras import ops

from sb_keras.arguments import check_choice, check_positive, check_positive_integer, check_rate
from sb_keras.layers.affine import Affine
from sb_keras.layers.channelwise import with_average
from sb_keras.layers.excitation import GATES, Excitation, known_channels


class _DynamicConv(keras.layers.Layer):
    """Routing and mixing, which the two dynamic convolutions share."""

    def __init__(
        self,
        kernel_size,
        strides=1,
        padding="same",
        experts=4,
        gate="softmax",
        temperature=30.0,
        hidden_units=None,
        dropout=0.0,
        use_bias=True,
        kernel_initializer="glorot_uniform",
        normalize_routing=True,
        **kwargs,
    ):
        super().__init__(**kwargs)
        self.kernel_size = _pair(kernel_size, "kernel_size")
        self.strides = _pair(strides, "strides")
        self.padding = check_choice("padding", padding, ("same", "valid"))
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
        self.normalize_routing = normalize_routing
        self.input_spec = keras.layers.InputSpec(ndim=4)

    def _build(self, input_shape, kernel_shape, filters):
        self.input_spec = known_channels(self, input_shape)
        sizes = zip(input_shape[1:3], self.kernel_size, strict=True)
        if self.padding == "valid" and any(size is not None and size < kernel for size, kernel in sizes):
            raise ValueError(
                f"`kernel_size` must not exceed the image where padding is 'valid'. Received: "
                f"kernel_size={self.kernel_size}, shape={input_shape}"
            )
        channels = input_shape[-1]
        self.routing_network = Excitation(
            self.experts,
            self.hidden_units or max(1, channels // 4),
            dropout=self.dropout,
            use_bias=True,
            normalize=self.normalize_routing,
            dtype=self.dtype_policy,
            name="routing",
        )
        self.routing_network.build(input_shape)
        self.kernel = self.add_weight(
            shape=(self.experts, *kernel_shape), initializer=self._initial_kernels, name="kernel"
        )
        self.bias = (
            self.add_weight(shape=(filters,), initializer="zeros", name="bias") if self.use_bias else None
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

    def _add_bias(self, outputs):
        return outputs + self.bias if self.use_bias else outputs

    def _output_size(self, size, axis) -> Any:
        """Output size of a spatial axis: an integer, a tensor, or None where it is not known."""
        if size is None:
            return None
        kernel, stride = self.kernel_size[axis], self.strides[axis]
        extent = size if self.padding == "same" else size - kernel + 1
        return (extent + stride - 1) // stride

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
            "experts": self.experts,
            "gate": self.gate,
            "temperature": self.initial_temperature,
            "hidden_units": self.hidden_units,
            "dropout": self.dropout,
            "use_bias": self.use_bias,
            "kernel_initializer": keras.initializers.serialize(self.kernel_initializer),
            "normalize_routing": self.normalize_routing,
        }


@keras.saving.register_keras_serializable(package="sb_keras")
class DynamicConv2D(_DynamicConv):
    """2D convolution whose kernel is mixed from several for every example (paper, section 3.2).

    y = (Σₖ πₖ(x) Wₖ) * x + b,  π(x) = softmax(F(x) / temperature)

    With a softmax this is DyConv (Chen et al., 2020); with `gate="sigmoid"` it is CondConv (Yang et al.,
    2019), and the temperature is not used. The convolution is one batched matrix product over
    patches, so that its cost does not grow with the number of kernels; a 1×1 kernel needs no patches.

    Args:
        filters: Number of output channels.
        kernel_size: An integer or a pair.
        strides: An integer or a pair.
        padding: `"same"` or `"valid"`.
        experts: Number of kernels n.
        gate: `"softmax"`, `"sigmoid"`, `"tanh"`, `"relu"` or `"linear"`.
        temperature: Initial softmax temperature; the layer's `temperature` weight holds the
            current one, and `sb_keras.callbacks.TemperatureAnnealing` changes it.
        hidden_units: Hidden units of the routing network F. Defaults to a quarter of the input channels.
        dropout: Rate of the dropout on F's hidden activations.
        use_bias: Whether to add a bias; it is not mixed.
        kernel_initializer: Initializer of each kernel.
        normalize_routing: Whether F has batch normalization. False only in folded networks.
        **kwargs: As `keras.layers.Layer`.

    Input shape: `(batch, height, width, channels)`. Output shape: as `keras.layers.Conv2D`.

    Raises:
        ValueError: If an argument is out of range or the number of channels is unknown.

    Example:

    ```python
    y = sb_keras.layers.DynamicConv2D(24, 1)(keras.ops.ones((8, 32, 32, 16)))
    ```
    """

    def __init__(self, filters, kernel_size, **kwargs):
        super().__init__(kernel_size, **kwargs)
        self.filters = check_positive_integer("filters", filters)

    def build(self, input_shape):
        kernel_shape = (*self.kernel_size, input_shape[-1], self.filters)
        self._build(input_shape, kernel_shape, self.filters)

    def call(self, inputs, training=None):
        inputs, average = with_average(inputs)
        kernels = self.mix(self.routing(average, training=training))
        _, height, width, _ = ops.shape(inputs)
        size = (self._output_size(height, 0), self._output_size(width, 1))
        patches = self._patches(inputs, size)
        channels = patches.shape[-1]
        outputs = ops.matmul(
            ops.reshape(patches, (-1, size[0] * size[1], channels)),
            ops.reshape(kernels, (-1, channels, self.filters)),
        )
        return self._add_bias(ops.reshape(outputs, (-1, *size, self.filters)))

    def _patches(self, inputs, size):
        """Every output position's receptive field, as channels, in the kernel's order."""
        if self.padding == "same" and self.kernel_size != (1, 1):
            inputs = ops.pad(inputs, [(0, 0), *self._same_padding(inputs, size), (0, 0)])
        (rows, columns), (stride_y, stride_x) = self.kernel_size, self.strides
        if self.kernel_size == self.strides == (1, 1):
            return inputs  # a slice of everything is free, but its gradient is a copy
        span_y, span_x = (size[0] - 1) * stride_y + 1, (size[1] - 1) * stride_x + 1
        shifted = [
            inputs[:, i : i + span_y : stride_y, j : j + span_x : stride_x]
            for i in range(rows)
            for j in range(columns)
        ]
        return shifted[0] if len(shifted) == 1 else ops.concatenate(shifted, axis=-1)

    def _same_padding(self, inputs, size):
        for axis, extent in enumerate(ops.shape(inputs)[1:3]):
            total = (size[axis] - 1) * self.strides[axis] + self.kernel_size[axis] - extent
            # Where the stride exceeds the kernel the windows leave a margin unread instead.
            total = max(total, 0) if isinstance(total, int) else ops.maximum(total, 0)
            yield (total // 2, total - total // 2)

    def compute_output_shape(self, input_shape):
        size = (self._output_size(input_shape[1], 0), self._output_size(input_shape[2], 1))
        return (input_shape[0], *size, self.filters)

    def get_config(self):
        return {**super().get_config(), "filters": self.filters}


@keras.saving.register_keras_serializable(package="sb_keras")
class DynamicDepthwiseConv2D(_DynamicConv):
    """Depthwise 2D convolution whose kernel is mixed from several for every example.

    y_c = (Σₖ πₖ(x) W_kc) * x_c + b_c,  π(x) = softmax(F(x) / temperature)

    The batch is moved into the channels, (1, height, width, batch · channels): examples with different
    kernels are then one ordinary depthwise convolution.

    Args:
        kernel_size: An integer or a pair.
        **kwargs: As `DynamicConv2D`, except `filters`. Strides must be equal in both directions.

    Input shape: `(batch, height, width, channels)`. Output shape: as `keras.layers.DepthwiseConv2D` with
    one filter a channel.

    Raises:
        ValueError: If an argument is out of range or the number of channels is unknown.

    Example:

    ```python
    y = sb_keras.layers.DynamicDepthwiseConv2D(3, strides=2)(keras.ops.ones((8, 32, 32, 16)))
    ```
    """

    def __init__(self, kernel_size, **kwargs):
        super().__init__(kernel_size, **kwargs)
        if self.strides[0] != self.strides[1]:
            raise ValueError(
                "`strides` must be equal in both directions for a depthwise convolution. "
                f"Received: strides={self.strides}"
            )

    def build(self, input_shape):
        self._build(input_shape, (*self.kernel_size, input_shape[-1]), input_shape[-1])

    def _initial_kernels(self, shape, dtype):
        # Keras's depthwise kernels have one more axis, which initializers count.
        return ops.squeeze(super()._initial_kernels((*shape, 1), dtype), axis=-1)

    def call(self, inputs, training=None):
        inputs, average = with_average(inputs)
        kernels = self.mix(self.routing(average, training=training))
        _, height, width, channels = ops.shape(inputs)
        merged = ops.reshape(ops.transpose(inputs, (1, 2, 0, 3)), (1, height, width, -1))
        kernels = ops.reshape(ops.transpose(kernels, (1, 2, 0, 3)), (*self.kernel_size, -1, 1))
        outputs = ops.depthwise_conv(merged, kernels, self.strides, self.padding, data_format="channels_last")
        size = (self._output_size(height, 0), self._output_size(width, 1))
        outputs = ops.reshape(outputs, (*size, -1, channels))
        return self._add_bias(ops.transpose(outputs, (2, 0, 1, 3)))

    def compute_output_shape(self, input_shape):
        size = (self._output_size(input_shape[1], 0), self._output_size(input_shape[2], 1))
        return (input_shape[0], *size, input_shape[-1])


def _pair(value, name):
    pair = tuple(value) if isinstance(value, (list, tuple)) else (value, value)
    if len(pair) != 2 or not all(isinstance(v, numbers.Integral) and int(v) > 0 for v in pair):
        raise ValueError(f"`{name}` must be a positive integer or a pair of them. Received: {name}={value!r}")
    return tuple(int(v) for v in pair)
