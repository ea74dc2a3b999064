"""Attaching attention to a trained network, which stays the function that it was until it is trained further.

Shift-and-Balance adds to a convolution T, so that with λ = 0 nothing changes, whatever the branch A gives:

    y = T(x) + λ · A(x) = T(x)

λ moves with the first step, as ∂ℓ/∂λ = Σ ∂ℓ/∂y · A(x) is not 0; the branch learns as soon as λ is not. A
dynamic convolution whose kernels all begin as the trained one is that convolution: its coefficients sum to 1.

    y = (Σ πₖ(x) W) * x = W * x

Squeeze-and-Excite multiplies by σ(F(x)), about ½ at first, which no initial value of its weights can undo
for every input; and CondConv's coefficients, sigmoids, do not sum to 1.
"""

import keras

from sb_keras.attachable import choose
from sb_keras.attention import Attention
from sb_keras.folding import merged_weights
from sb_keras.graph import as_functional, has_graph, inner_layers, models_within, nodes, rebuilt
from sb_keras.layers.context import GlobalContext
from sb_keras.models.convolutions import dynamic_conv, shift_balance

_REFUSED = {
    "static": "it is no attention",
    "se-block": "it multiplies by σ(F(x)), about ½ at first",
    "se": "it multiplies by σ(F(x)), about ½ at first",
    "condconv": "its coefficients are sigmoids, which do not sum to 1",
}


def attach(model, attention: str | Attention = "sb", layers=None):
    """Returns a trained model with attention on its convolutions: the same function until it is trained.

    Shift-and-Balance begins with λ = 0, and the outputs are those of `model` to the last bit. A dynamic
    convolution begins with the trained kernel n times, and the outputs agree to rounding. Every layer keeps
    its name; those of the attention on layer `conv` are `conv_context` and `conv_sb`, and where `conv` has an
    activation of its own, it is the layer `conv_activation` behind the attention.

    Without `layers`, the convolutions at the attention's `positions` get it: `"depthwise"` ones, those that
    `"expand"` (more channels out than in) and those that `"project"` (the others), of any kernel size.
    Left alone are the stem (the first convolution on an input), convolutions that see 1×1 maps (the dense
    layers of Squeeze-and-Excite blocks), those that have attention already, and with `"dyconv"` those that
    dynamic convolutions cannot replace (dilated, grouped, separable, with strides that differ).
    An output that a convolution makes is named after the last layer behind it: losses by name need the new
    `output_names`.

    Args:
        model: A functional or sequential Keras model, built of this package's or of stock layers. Models
            within it get attention too. It is not changed.
        attention: `"sb"` with λ from 0, `"dyconv"`, or an `Attention` of these kinds; the latter's
            `lambda_init` is taken as it is, and only 0 keeps the function.
        layers: Which convolutions, instead of `positions`: their names, or a function of a layer that
            returns whether it is to have attention.

    Returns:
        A functional `keras.Model`, not compiled. Its weights are copies.

    Raises:
        ValueError: If attention of the kind cannot leave the function as it is, a layer is unknown, cannot
            have attention or is frozen where it is to be dynamic, or no layer gets any. An `Attention` whose
            `lambda_init` is not 0 is taken.

    Example:

    ```python
    trained = keras.applications.MobileNetV2(alpha=0.35, weights=None)
    model = sb_keras.attach(trained, "sb")
    model.compile("adam", "sparse_categorical_crossentropy")
    ```
    """
    attention = Attention.of(attention, lambda_init=0.0)
    if attention.kind in _REFUSED:
        raise ValueError(
            f'`attention` must be "sb" or "dyconv", which leave a trained network what it is. '
            f"Received: {attention.kind!r}; {_REFUSED[attention.kind]}"
        )
    if attention.blocks is not None:
        raise ValueError(
            "`attention.blocks` must be None: it counts the blocks of this package's builders. Here `layers` "
            f"chooses. Received: {attention.blocks!r}"
        )
    if attention.kind == "dyconv" and attention.effective_gate != "softmax":
        raise ValueError(
            "`attention.gate` must be softmax for dyconv: only its coefficients sum to 1. "
            f"Received: {attention.gate!r}"
        )
    chosen = {id(each.layer): each for each in choose(model, attention, layers)}
    frozen = [each.layer.name for each in chosen.values() if not each.layer.trainable]
    if attention.kind == "dyconv" and frozen:
        raise ValueError(
            "Dynamic convolutions learn by their kernels, which are equal at first, and these are frozen: "
            f"{', '.join(frozen[:3])}{', …' if len(frozen) > 3 else ''}. Set `trainable` of the layers, or "
            'choose others by `layers`, or attach "sb"'
        )
    _check_names(model, attention, chosen)
    norms = _norms_behind(model, chosen) if attention.placement == "norm" else {}
    return _with_attention(model, attention, chosen, norms, copies={}, shifts={})


def _with_attention(model, attention, chosen, norms, copies, shifts):
    """A copy of a functional model, with attention on the convolutions that are `chosen`, by `id`.

    Args:
        model: The model, or one within it.
        attention: The `Attention`.
        chosen: The convolutions, by the `id` of their layer.
        norms: See `_norms_behind`.
        copies: For layers, by `id`, functions that call their copies: what two models share stays shared.
        shifts: For convolutions, by `id`, functions that add their attention to a trunk.
    """
    model = as_functional(model)

    def call(layer, *args, **kwargs):
        if not isinstance(layer, keras.layers.Layer):
            return layer(*args, **kwargs)  # an operation without weights
        if id(layer) not in copies:
            copies[id(layer)] = make(layer)
        return copies[id(layer)](*args, **kwargs)

    def make(layer):
        """A function that does what a call of the layer does, with weights of its own, and attention."""
        if has_graph(layer):
            return _with_attention(layer, attention, chosen, norms, copies, shifts)
        each = chosen.get(id(layer))
        if each is None:
            copy = _copy(layer)
            if id(layer) not in norms:
                return copy
            return lambda x, **kwargs: shifts[norms[id(layer)]](copy(x, **kwargs))
        activate = _activation(layer)
        if attention.kind == "dyconv":
            dynamic = _dynamic(each, attention)
            return lambda x: activate(dynamic(x))
        copy = _copy(layer, activation="linear", activity_regularizer=None)
        common = {"dtype": layer.dtype_policy, "data_format": "channels_last"}
        context = GlobalContext(name=f"{layer.name}_context", **common)
        hidden_units = max(1, each.filters // 6) if each.is_depthwise else each.filters  # paper, section 5.1
        attend = shift_balance(attention, hidden_units, dtype=layer.dtype_policy, name=f"{layer.name}_sb")

        def convolution(x):
            x, average = context(x)
            shifts[id(layer)] = lambda trunk: attend([trunk, average])
            trunk = copy(x)
            return trunk if id(layer) in norms.values() else activate(shifts[id(layer)](trunk))

        return convolution

    return rebuilt(model, call)


def _check_names(model, attention, chosen):
    """Raises a `ValueError` if a layer has the name that one of the attention's is to have."""
    for within in models_within(model):
        layers = {node.operation.name: node.operation for node in nodes(within)}
        for layer in layers.values():
            if id(layer) not in chosen:
                continue
            ends = ["activation"] if _has_activation(layer) else []
            ends += ["context", "sb"] if attention.kind == "sb" else []
            for name in (f"{layer.name}_{end}" for end in ends):
                if name in layers:
                    raise ValueError(
                        f"Cannot attach attention to layer '{layer.name}': there is a layer '{name}' "
                        "already, as in a network that has been folded. Attach to the network before `fold`"
                    )


def _norms_behind(model, chosen):
    """For the normalizations behind chosen convolutions these convolutions, of all models; both by `id`."""
    graph = [node for each in models_within(model) for node in nodes(each)]
    calls = [id(node.operation) for node in graph]
    convolutions = {
        id(node.outputs[0]): chosen[id(node.operation)] for node in graph if id(node.operation) in chosen
    }
    readers = [id(tensor) for node in graph for tensor in node.input_tensors]
    norms = {}
    for node in graph:
        if isinstance(node.operation, keras.layers.BatchNormalization):
            source = id(node.input_tensors[0])
            each = convolutions.get(source)
            if each is not None and each.layer.activation is keras.activations.linear:
                if (
                    calls.count(id(each.layer)) > 1
                    or calls.count(id(node.operation)) > 1
                    or readers.count(source) > 1
                ):
                    raise ValueError(
                        f"Cannot attach attention behind the normalization of '{each.layer.name}', which is "
                        'shared: expected placement="conv"'
                    )
                norms[id(node.operation)] = id(each.layer)
    return norms


def _has_activation(layer):
    return layer.activation is not keras.activations.linear or layer.activity_regularizer is not None


def _activation(layer):
    """The activation of a convolution, and what regularizes it, as a layer: attention is before it."""
    if not _has_activation(layer):
        return lambda x: x
    common = {"activity_regularizer": layer.activity_regularizer, "name": f"{layer.name}_activation"}
    if isinstance(layer.activation, keras.layers.Layer):  # PReLU, for example, which has weights
        return _copy(layer.activation, **common)
    return keras.layers.Activation(layer.activation, dtype=layer.dtype_policy, **common)


def _copy(layer, **changes):
    """A function that calls a layer like this one, with the same weights."""
    if isinstance(layer, keras.layers.Lambda):
        return layer  # it has nothing of its own, and its configuration does not hold its function
    copy = type(layer).from_config({**layer.get_config(), **changes})
    # An activation that is a layer is copied on its own.
    activation = layer.activation if "activation" in changes else None
    is_layer = isinstance(activation, keras.layers.Layer)
    left_out = [activation, *inner_layers(activation)] if is_layer else []
    inner = [each for each in inner_layers(layer) if each not in left_out]
    weights = [w for w in layer.weights if not any(w is other for each in left_out for other in each.weights)]

    def call(*args, **kwargs):
        is_new = not copy.built or len(copy.weights) != len(weights)
        outputs = copy(*args, **kwargs)
        if is_new and layer.built:  # an activation within a layer is not before the first call
            copy.set_weights([keras.ops.convert_to_numpy(weight) for weight in weights])
            if isinstance(layer, keras.layers.Normalization):
                copy.finalize_state()  # it computes with something derived from its weights
            for ours, theirs in zip(inner_layers(copy), inner, strict=True):
                ours.trainable = theirs.trainable
        return outputs

    return call


def _dynamic(each, attention):
    """A function that calls a dynamic convolution, each of whose kernels is the trained one."""
    layer = each.layer
    kind = "depthwise" if each.is_depthwise else "kernel"
    of_kernels = {
        f"{kind}_{what}": getattr(layer, f"{kind}_{what}") for what in ("regularizer", "constraint")
    }
    dynamic = dynamic_conv(
        attention,
        each.channels,
        None if each.is_depthwise else layer.filters,
        layer.kernel_size,
        strides=layer.strides,
        padding=layer.padding,
        use_bias=layer.use_bias,
        **of_kernels,
        bias_regularizer=layer.bias_regularizer,
        bias_constraint=layer.bias_constraint,
        dtype=layer.dtype_policy,
        name=layer.name,
    )

    def call(x):
        is_new = not dynamic.built
        outputs = dynamic(x)
        if is_new:
            kernel, *bias = merged_weights(layer)
            dynamic.begin_with(kernel)
            if dynamic.bias is not None:
                dynamic.bias.assign(bias[0])
        return outputs

    return call
