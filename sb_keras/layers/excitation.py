"""The attention branch F that every layer of this package shares, and what SB and SE have in common."""

import keras
from keras import ops

from sb_keras.layers.batch_norm import BatchNormalization

GATES = ("tanh", "sigmoid", "softmax", "relu", "linear")


def check_gate(gate):
    if gate not in GATES:
        raise ValueError(f"`gate` must be one of {GATES}. Received: gate={gate!r}")
    return gate


def check_hidden_units(hidden_units):
    if hidden_units is not None and not (isinstance(hidden_units, int) and hidden_units > 0):
        raise ValueError(
            f"`hidden_units` must be a positive integer or None. Received: hidden_units={hidden_units!r}"
        )
    return hidden_units


@keras.saving.register_keras_serializable(package="sb_keras")
class Excitation(keras.layers.Layer):
    """The light-weight network F(x) of an attention branch (paper, figure 1).

    F(x) = BN(W₂ · Dropout(ReLU(BN(W₁ · GAP(x)))))

    Args:
        units: Size of the output.
        hidden_units: Size of the hidden layer.
        dropout: Rate of the dropout on the hidden activations (paper, Table 7), in [0, 1).
        use_bias: Whether the two fully connected layers have biases.
        normalize: Whether each fully connected layer is followed by batch normalization. False
            only in folded networks, which need `use_bias=True` instead.
        **kwargs: As `keras.layers.Layer`.

    Input shape: `(batch, height, width, channels)`. Output shape: `(batch, units)`, before any gate.

    Example:

    ```python
    z = sb_keras.layers.Excitation(units=16, hidden_units=4)(keras.ops.ones((8, 32, 32, 16)))
    ```
    """

    def __init__(
        self, units, hidden_units, dropout=0.0, use_bias=False, normalize=True, **kwargs
    ):
        super().__init__(**kwargs)
        if not 0 <= dropout < 1:
            raise ValueError(f"`dropout` must be in [0, 1). Received: dropout={dropout}")
        self.units = units
        self.hidden_units = hidden_units
        self.dropout = dropout
        self.use_bias = use_bias
        self.normalize = normalize

        # The paper's PyTorch code draws fully connected weights from N(0, 0.01).
        def dense(size, name):
            initializer = keras.initializers.RandomNormal(stddev=0.01)
            return keras.layers.Dense(
                size,
                use_bias=use_bias,
                kernel_initializer=initializer,
                dtype=self.dtype_policy,
                name=name,
            )

        def norm(name):
            return BatchNormalization(dtype=self.dtype_policy, name=name) if normalize else None

        self.squeeze = dense(hidden_units, "squeeze")
        self.squeeze_bn = norm("squeeze_bn")
        self.drop = keras.layers.Dropout(dropout, dtype=self.dtype_policy) if dropout else None
        self.excite = dense(units, "excite")
        self.excite_bn = norm("excite_bn")

    def build(self, input_shape):
        batch, channels = input_shape[0], input_shape[-1]
        self.squeeze.build((batch, channels))
        self.excite.build((batch, self.hidden_units))
        if self.normalize:
            self.squeeze_bn.build((batch, self.hidden_units))
            self.excite_bn.build((batch, self.units))

    def call(self, inputs, training=None):
        x = self.squeeze(ops.mean(inputs, axis=(1, 2)))
        if self.normalize:
            x = self.squeeze_bn(x, training=training)
        x = ops.relu(x)
        if self.drop is not None:
            x = self.drop(x, training=training)
        x = self.excite(x)
        if self.normalize:
            x = self.excite_bn(x, training=training)
        return x

    def compute_output_shape(self, input_shape):
        return (input_shape[0], self.units)

    def get_config(self):
        return {
            **super().get_config(),
            "units": self.units,
            "hidden_units": self.hidden_units,
            "dropout": self.dropout,
            "use_bias": self.use_bias,
            "normalize": self.normalize,
        }


class ChannelAttention(keras.layers.Layer):
    """What SB and SE share: the gated branch A(x) = gate(F(x)), one value a channel of the trunk.

    Subclasses integrate it with the trunk in `call([trunk, inputs])`.
    """

    def __init__(self, hidden_units=None, gate="sigmoid", dropout=0.0, **kwargs):
        super().__init__(**kwargs)
        self.hidden_units = check_hidden_units(hidden_units)
        self.gate = check_gate(gate)
        self.dropout = dropout

    def build(self, input_shape):
        trunk_shape, inputs_shape = _check_pair(self, input_shape)
        filters = trunk_shape[-1]
        self.excitation = Excitation(
            filters,
            self.hidden_units or filters,
            dropout=self.dropout,
            dtype=self.dtype_policy,
            name="excitation",
        )
        self.excitation.build(inputs_shape)

    def attention(self, inputs, training=None):
        """A(x) of shape `(batch, 1, 1, filters)`."""
        gated = keras.activations.get(self.gate)(self.excitation(inputs, training=training))
        return ops.expand_dims(gated, (1, 2))

    def compute_output_shape(self, input_shape):
        return input_shape[0]

    def get_config(self):
        return {
            **super().get_config(),
            "hidden_units": self.hidden_units,
            "gate": self.gate,
            "dropout": self.dropout,
        }


def _check_pair(layer, input_shape):
    shapes = list(input_shape) if isinstance(input_shape, (list, tuple)) else []
    if len(shapes) != 2 or any(not hasattr(s, "__len__") or len(s) != 4 for s in shapes):
        raise ValueError(
            f"{type(layer).__name__} is called on a list [trunk, inputs] of two tensors of shape "
            f"(batch, height, width, channels). Received shapes: {input_shape}"
        )
    if any(shape[-1] is None for shape in shapes):
        raise ValueError(
            f"{type(layer).__name__} needs the number of channels. Received shapes: {input_shape}"
        )
    return shapes
