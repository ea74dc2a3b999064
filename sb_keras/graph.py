"""The graph of a functional model, and all that is used of Keras's private names, for want of public ones."""

import collections
import itertools

import keras


def as_functional(model):
    """The functional model of the same layers, not compiled.

    Raises:
        ValueError: If the model has no graph.
    """
    # A sequential model has a functional one inside, or None until its input shape is known.
    functional = getattr(model, "_functional", model)
    if not hasattr(functional, "_nodes_by_depth") or _has_own_call(model):
        own = ", whose `call` is its own" if _has_own_call(model) else ""
        raise ValueError(
            "Expected a functional Keras model, or a sequential one that is built. "
            f"Received: {getattr(model, 'name', model)!r} of type {type(model).__name__}{own}"
        )
    return keras.Model(functional.input, functional.output, name=model.name)


def _has_own_call(model):
    """Whether a model of a user's class may do something else than its graph says."""
    call = getattr(type(model), "call", None)
    return call is not None and call.__module__.partition(".")[0] not in ("keras", "tf_keras")


def has_graph(layer):
    """Whether it is a functional model, or a sequential one that is built."""
    return hasattr(getattr(layer, "_functional", layer), "_nodes_by_depth")


def nodes(model):
    """The calls that make up a functional or sequential model, inputs first.

    Returns:
        A list of Keras nodes with `operation`, `input_tensors` and `outputs`.

    Raises:
        ValueError: If the model has no graph.
    """
    by_depth = as_functional(model)._nodes_by_depth
    return [node for depth in sorted(by_depth, reverse=True) for node in by_depth[depth]]


def readers_of(graph):
    """For every symbolic tensor, by `id`, the calls that read it.

    Args:
        graph: Calls, as `nodes` lists them.

    Returns:
        A dictionary of lists, which gives an empty one for a tensor that nothing reads.
    """
    readers = collections.defaultdict(list)
    for node in graph:
        for tensor in node.input_tensors:
            readers[id(tensor)].append(node)
    return readers


def only_input(args, kwargs):
    """What a layer of one input is called on, by position or by its name."""
    return args[0] if args else kwargs["inputs"]


def models_within(model):
    """A functional model and the models within it, each once."""
    found = {}

    def visit(model):
        if id(model) not in found:
            found[id(model)] = model
            for node in nodes(model):
                if has_graph(node.operation):
                    visit(node.operation)

    visit(model)
    return list(found.values())


def rebuilt(model, call):
    """A functional model of the same inputs, by name, with `call(layer, *args)` for every call of a layer."""
    inputs = keras.tree.map_structure(
        lambda x: keras.Input(batch_shape=x.shape, dtype=x.dtype, name=operation_of(x).name), model.input
    )
    return keras.models.clone_model(
        model, input_tensors=inputs, clone_function=lambda layer: layer, call_function=call
    )


def operation_of(tensor):
    """The operation, mostly a layer, that made a symbolic tensor of Keras 3 or tf_keras."""
    return tensor._keras_history[0]


def node_of(tensor):
    """The call that made a symbolic tensor: a Keras node, as `nodes` lists them."""
    operation, index, _ = tensor._keras_history
    return operation._inbound_nodes[index]


def tensor_names(structure):
    """A name for each of a model's inputs or outputs, in their order, no two of them equal.

    Keys of dictionaries are the names; what has none is named after the layer that makes it, as Keras
    does. A name that comes again, as that of a layer with two outputs does, gets a number: `head`, `head_1`.

    Args:
        structure: The `input` or `output` of a functional model: a symbolic tensor, or a structure of them.
    """
    names = []
    for path, tensor in keras.tree.flatten_with_path(structure):
        keyed = any(isinstance(part, str) for part in path)
        names.append("_".join(map(str, path)) if keyed else operation_of(tensor).name)
    unique = []
    for name in names:
        numbered = (f"{name}_{number}" for number in itertools.count(1))
        free = (each for each in numbered if each not in names and each not in unique)
        unique.append(next(free) if name in unique else name)
    return unique


def inner_layers(model):
    """A list of every layer within a model, also of those within its layers and models."""
    return list(model._flatten_layers(include_self=False))


def new_lambda(layer):
    """A `Lambda` layer of the same live function, in float32; its configuration would hold the code only."""
    return keras.layers.Lambda(
        layer.function, layer._output_shape, layer.mask, layer.arguments, dtype="float32", name=layer.name
    )


def skip_symbolic_build(model):
    """Has `fit` take a model as built, for strategies under which Keras's own building fails."""
    model._maybe_symbolic_build = lambda *args, **kwargs: None
