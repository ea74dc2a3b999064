"""The attention branch F that every layer of this package shares, and what SB and SE have in common."""

import math

import keras
from keras import ops

from sb_keras.arguments import check_choice, check_positive_integer, check_rate
from sb_keras.attention import GATES
from sb_keras.layers.affine import Affine, call_with
from sb_keras.layers.batch_norm import BatchNormalization
from sb_keras.layers.channels_last import ChannelsLast
from sb_keras.layers.channelwise import global_average

if keras.backend.backend() == "tensorflow":
    from sb_keras.layers.branch import train_branch

_MAP_OR_AVERAGE = keras.layers.InputSpec(min_ndim=2, max_ndim=4)


@keras.saving.register_keras_serializable(package="sb_keras")
class Excitation(ChannelsLast):
    """The light-weight network F(x) of an attention branch (paper, figure 1).

    F(x) = BN(W₂ · Dropout(ReLU(BN(W₁ · GAP(x)))))

    Args:
        units: Size of the output.
        hidden_units: Size of the hidden layer.
        dropout: Rate of the dropout on the hidden activations (paper, Table 7), in [0, 1).
        use_bias: Whether the two fully connected layers have biases.
        normalize: Whether each fully connected layer is followed by batch normalization.
        **kwargs: As `keras.layers.Layer`, and `data_format`: `"channels_last"`, or None for Keras's setting,
            which must be that.

    Input shape: `(batch, height, width, channels)`, or `(batch, channels)` averaged already.
    Output shape: `(batch, units)`, before any gate.

    Example:

    ```python
    z = sb_keras.layers.Excitation(units=16, hidden_units=4)(keras.ops.ones((8, 32, 32, 16)))
    ```
    """

    def __init__(self, units, hidden_units, dropout=0.0, use_bias=False, normalize=True, **kwargs):
        super().__init__(**kwargs)
        self.units = check_positive_integer("units", units)
        self.hidden_units = check_positive_integer("hidden_units", hidden_units)
        self.dropout = check_rate("dropout", dropout)
        self.use_bias = use_bias
        self.normalize = normalize
        self.input_spec = _MAP_OR_AVERAGE

        common = {"dtype": self.dtype_policy, "trainable": self.trainable}

        # The paper's PyTorch code draws fully connected weights from N(0, 0.01).
        def dense(size, name):
            initializer = keras.initializers.RandomNormal(stddev=0.01)
            return keras.layers.Dense(
                size,
                use_bias=use_bias,
                kernel_initializer=initializer,
                name=name,
                **common,
            )

        def norm(name):
            return BatchNormalization(name=name, **common) if normalize else None

        self.squeeze = dense(hidden_units, "squeeze")
        self.squeeze_bn = norm("squeeze_bn")
        self.drop = keras.layers.Dropout(dropout, dtype=self.dtype_policy) if dropout else None
        self.excite = dense(units, "excite")
        self.excite_bn = norm("excite_bn")

    def build(self, input_shape):
        channels = known_channels(self, input_shape).axes
        self.input_spec = keras.layers.InputSpec(min_ndim=2, max_ndim=4, axes=channels)
        batch, channels = input_shape[0], input_shape[-1]
        self.squeeze.build((batch, channels))
        self.excite.build((batch, self.hidden_units))
        if self.squeeze_bn is not None and self.excite_bn is not None:
            self.squeeze_bn.build((batch, self.hidden_units))
            self.excite_bn.build((batch, self.units))

    def call(self, inputs, training=None):
        if training and self._is_one_pass(inputs):
            return train_branch(self, inputs)
        x = self.squeeze(global_average(inputs) if len(inputs.shape) == 4 else inputs)
        if self.squeeze_bn is not None:
            x = self.squeeze_bn(x, training=training)
        x = ops.relu(x)
        if self.drop is not None:
            x = self.drop(x, training=training)
        x = self.excite(x)
        if self.excite_bn is not None:
            x = self.excite_bn(x, training=training)
        return x

    def _is_one_pass(self, inputs):
        norms = self.squeeze_bn, self.excite_bn
        return all(norm and norm.is_fused(inputs) for norm in norms)

    def compute_output_shape(self, input_shape):
        return (input_shape[0], self.units)

    def cost(self, input_shape):
        """Multiplies, adds and multiply-adds: GAP (equations 10, 11) and both dense layers (12, 13)."""
        channels = input_shape[-1]
        products = channels * self.hidden_units + self.hidden_units * self.units
        if len(input_shape) == 2:  # averaged already
            return products, products, products
        return products + channels, products + math.prod(input_shape[1:]), products

    def folded_weights(self):
        """Kernel and bias of both fully connected layers, with the batch normalizations folded in."""
        return [
            *_norm_affine(self.squeeze_bn, self.hidden_units).fold(self.squeeze.kernel, self.squeeze.bias),
            *_norm_affine(self.excite_bn, self.units).fold(self.excite.kernel, self.excite.bias),
        ]

    def get_config(self):
        return {
            **super().get_config(),
            "units": self.units,
            "hidden_units": self.hidden_units,
            "dropout": self.dropout,
            "use_bias": self.use_bias,
            "normalize": self.normalize,
        }


class ChannelAttention(ChannelsLast):
    """What SB and SE share: the gated branch A(x) = gate(F(x)), one value a channel of the trunk.

    Subclasses integrate it with the trunk in `call([trunk, inputs])`.
    """

    def __init__(
        self, hidden_units=None, gate="sigmoid", dropout=0.0, use_bias=False, normalize=True, **kwargs
    ):
        super().__init__(**kwargs)
        if hidden_units is not None:
            hidden_units = check_positive_integer("hidden_units", hidden_units)
        self.hidden_units = hidden_units
        self.gate = check_choice("gate", gate, GATES)
        self.dropout = check_rate("dropout", dropout)
        self.use_bias = use_bias
        self.normalize = normalize
        self.input_spec = [keras.layers.InputSpec(ndim=4), _MAP_OR_AVERAGE]

    def __call__(self, inputs, *args, **kwargs):
        if not (isinstance(inputs, (list, tuple)) and len(inputs) == 2):
            received = [getattr(x, "shape", x) for x in keras.tree.flatten(inputs)]
            name = type(self).__name__
            raise ValueError(
                f"{name} is called on a list of two tensors, `{name}()([T(x), x])`: what it attends to, and "
                "what that was computed from. A sequential model passes one tensor and cannot have it; the "
                f"functional API can. Received: {len(received)} tensor(s) of shape "
                f"{', '.join(map(str, received))}"
            )
        return super().__call__(inputs, *args, **kwargs)

    def build(self, input_shape):
        trunk_shape, inputs_shape = input_shape
        filters = trunk_shape[-1]
        self.pools = len(inputs_shape) == 4
        self.input_spec = [known_channels(self, shape) for shape in input_shape]
        self.excitation = Excitation(
            filters,
            self.hidden_units or filters,
            dropout=self.dropout,
            use_bias=self.use_bias,
            normalize=self.normalize,
            data_format=self.data_format,
            dtype=self.dtype_policy,
            trainable=self.trainable,  # which Keras passes on only to layers that are there already
            name="excitation",
        )
        self.excitation.build(inputs_shape)

    def attention(self, inputs, training=None):
        """A(x) of shape `(batch, filters)`."""
        return keras.activations.get(self.gate)(self.excitation(inputs, training=training))

    def fold_attention(self, inputs, gate, slope=1.0):
        """gate(slope · F(x)) in stock layers, of shape `(batch, 1, 1, filters)`."""
        squeeze_kernel, squeeze_bias, excite_kernel, excite_bias = self.excitation.folded_weights()
        if self.pools:
            inputs = average_pooling(f"{self.name}_pool")(inputs)
        elif len(inputs.shape) == 2:
            inputs = keras.layers.Reshape((1, 1, inputs.shape[-1]), dtype="float32", name=f"{self.name}_map")(
                inputs
            )
        x = self._fold_dense(inputs, squeeze_kernel, squeeze_bias, "relu", "squeeze")
        return self._fold_dense(x, slope * excite_kernel, slope * excite_bias, gate, "excite")

    def _fold_dense(self, x, kernel, bias, activation, name):
        dense = keras.layers.Conv2D(
            kernel.shape[-1],
            1,
            activation=activation,
            data_format="channels_last",
            dtype="float32",
            name=f"{self.name}_{name}",
        )
        return call_with(dense, x, kernel[None, None], bias)

    def compute_output_shape(self, input_shape):
        return input_shape[0]

    def get_config(self):
        return {
            **super().get_config(),
            "hidden_units": self.hidden_units,
            "gate": self.gate,
            "dropout": self.dropout,
            "use_bias": self.use_bias,
            "normalize": self.normalize,
        }


def _norm_affine(norm, channels):
    return Affine.identity(channels) if norm is None else Affine.of(norm)


def average_pooling(name, keepdims=True):
    """Global average pooling of a folded network: the average stays a feature map, of 1×1."""
    return keras.layers.GlobalAveragePooling2D(
        data_format="channels_last", keepdims=keepdims, dtype="float32", name=name
    )


def known_channels(layer, shape):
    """The `InputSpec` of feature maps, or averages of some, with as many channels as `shape` has."""
    if len(shape) not in (2, 4):
        raise ValueError(
            f"{type(layer).__name__} needs a feature map (rank 4) or its average (rank 2). "
            f"Received: shape={shape}"
        )
    if shape[-1] is None:
        raise ValueError(
            f"{type(layer).__name__} needs to know the number of channels. Received: shape={shape}"
        )
    return keras.layers.InputSpec(ndim=len(shape), axes={-1: shape[-1]})
