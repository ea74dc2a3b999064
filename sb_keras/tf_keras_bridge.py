"""From Keras 3 to Keras 2: the same network in the layers of tf_keras, which older tools still need.

The two packages have the same stock layers, with the same weights in the same order, but neither reads
the other's models. Here every layer is made anew from its arguments, called in the order of the graph,
and given its weights.
"""

import inspect

import keras

from sb_keras.graph import as_functional, nodes, operation_of

# What only training needs, and what every layer has.
_DROPPED = ("initializer", "regularizer", "constraint")
_OF_EVERY_LAYER = ("name", "trainable", "dtype")


def to_tf_keras(model):
    """Returns the same function as `model`, as a tf_keras (Keras 2) model.

    Layers keep their names, dtype policies and weights; the result shares nothing with `model`. Models
    within the model are dissolved into their layers. Initializers, regularizers and constraints are not
    kept. Needs the package tf_keras, which is imported here and not before.

    Args:
        model: A functional or sequential Keras 3 model of stock layers on the TensorFlow backend, such as
            `sb_keras.fold` makes.

    Returns:
        A functional `tf_keras.Model` whose inputs and outputs have the structure, shapes and dtypes of
        those of `model`.

    Raises:
        ValueError: If the model has no graph, or a layer that tf_keras does not have, or not with these
            arguments; the message names the layer.

    Example:

    ```python
    model = keras.Sequential([keras.Input((8, 8, 3)), keras.layers.Conv2D(4, 3, activation="relu")])
    legacy = sb_keras.tf_keras_bridge.to_tf_keras(model)
    ```
    """
    import tf_keras

    def as_input(tensor):
        name = operation_of(tensor).name
        return tf_keras.Input(batch_shape=tensor.shape, dtype=tensor.dtype, name=name)

    model = as_functional(model)
    inputs = keras.tree.map_structure(as_input, model.input)
    layers = {}  # what is called again has the same weights again
    outputs = _call(model, inputs, layers)
    result = tf_keras.Model(inputs, outputs, name=model.name)
    for layer, copy in layers.items():
        copy.set_weights(layer.get_weights())
    return result


def _call(model, inputs, layers):
    """Calls tf_keras copies of a functional model's layers; they are kept in `layers`."""
    inner, outer = keras.tree.flatten(model.input), keras.tree.flatten(inputs)
    tensors = {id(tensor): value for tensor, value in zip(inner, outer, strict=True)}

    def value_of(argument):
        return tensors[id(argument)] if isinstance(argument, keras.KerasTensor) else argument

    for node in nodes(model):
        layer = node.operation
        if isinstance(layer, keras.layers.InputLayer):
            continue
        args = keras.tree.map_structure(value_of, node.arguments.args)
        kwargs = {
            name: keras.tree.map_structure(value_of, value)
            for name, value in node.arguments.kwargs.items()
            if value is not None
        }
        if isinstance(layer, keras.Model):
            outputs = _call(as_functional(layer), args[0], layers)
        else:
            if layer not in layers:
                layers[layer] = _copy(layer)
            outputs = layers[layer](*args, **kwargs)
        for tensor, value in zip(node.outputs, keras.tree.flatten(outputs), strict=True):
            tensors[id(tensor)] = value
    return keras.tree.map_structure(value_of, model.output)


def _copy(layer):
    """The tf_keras layer of the same class and arguments."""
    import tf_keras

    kind = type(layer).__name__
    if getattr(keras.layers, kind, None) is not type(layer) or not hasattr(tf_keras.layers, kind):
        raise ValueError(
            f"Cannot rebuild layer '{layer.name}' in tf_keras: expected a stock layer that tf_keras has too. "
            f"Received: {kind}"
        )
    cls = getattr(tf_keras.layers, kind)
    config = {**layer.get_config(), "dtype": layer.dtype_policy.name}
    known = {*_OF_EVERY_LAYER, *inspect.signature(cls).parameters}
    defaults = {key: each.default for key, each in inspect.signature(type(layer)).parameters.items()}
    unknown = {
        key: value
        for key, value in config.items()
        if key not in known and value is not None and value is not False and value != defaults.get(key)
    }
    kept = {key: value for key, value in config.items() if key in known and not key.endswith(_DROPPED)}
    try:
        if unknown:
            raise ValueError(f"tf_keras does not know {unknown}")
        if getattr(layer, "activation", None) is keras.activations.hard_sigmoid:
            raise ValueError(
                "its hard_sigmoid is another function, 0.2 x + 0.5 where Keras 3 has x / 6 + 0.5"
            )
        return cls(**kept)
    except (TypeError, ValueError) as error:
        raise ValueError(f"Cannot rebuild layer '{layer.name}' ({kind}) in tf_keras: {error}") from error
