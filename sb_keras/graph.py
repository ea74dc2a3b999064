"""The nodes of a functional model: which operation reads which tensors, in the order of computation."""

import keras


def nodes(model):
    """The calls that make up a functional model, inputs first.

    Args:
        model: A functional Keras model, or a sequential one that is built.

    Returns:
        A list of Keras nodes with `operation`, `input_tensors` and `outputs`.

    Raises:
        ValueError: If the model has no such graph.
    """
    if isinstance(model, keras.Sequential) and model.built:
        model = keras.Model(model.inputs, model.outputs)
    if not hasattr(model, "_nodes_by_depth"):
        raise ValueError(
            "Expected a functional Keras model, or a sequential one that is built. "
            f"Received: {type(model).__name__}"
        )
    by_depth = model._nodes_by_depth
    return [node for depth in sorted(by_depth, reverse=True) for node in by_depth[depth]]
