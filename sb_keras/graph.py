"""The graph of a functional model: which operation reads which tensors, in the order of computation."""

import keras


def as_functional(model):
    """The functional model of the same layers, not compiled.

    Raises:
        ValueError: If the model has no graph.
    """
    # A sequential model has a functional one inside, or None until its input shape is known.
    functional = getattr(model, "_functional", model)
    if not hasattr(functional, "_nodes_by_depth"):
        raise ValueError(
            "Expected a functional Keras model, or a sequential one that is built. "
            f"Received: {getattr(model, 'name', model)!r} of type {type(model).__name__}"
        )
    return keras.Model(functional.input, functional.output, name=model.name)


def nodes(model):
    """The calls that make up a functional or sequential model, inputs first.

    Returns:
        A list of Keras nodes with `operation`, `input_tensors` and `outputs`.

    Raises:
        ValueError: If the model has no graph.
    """
    by_depth = as_functional(model)._nodes_by_depth
    return [node for depth in sorted(by_depth, reverse=True) for node in by_depth[depth]]
