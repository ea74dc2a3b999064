"""Weights of trained networks for the builders: of keras.applications, of torchvision and of this package.

Whatever the file, its weights become a dictionary from names of layers, as the builders name them, to arrays
as Keras shapes them; `load` then compares every name and shape before it changes anything.
"""

import difflib
import os
import pathlib
import zipfile

import keras
import numpy as np

from sb_keras.attention import Attention
from sb_keras.graph import node_of, operation_of
from sb_keras.layers.dynamic_conv import DynamicConv
from sb_keras.layers.excitation import ChannelAttention
from sb_keras.models.torch_weights import read_torch

IMAGENET_URL = "https://storage.googleapis.com/tensorflow/keras-applications/mobilenet_v2/"
IMAGENET_WIDTHS = (0.35, 0.5, 0.75, 1.0, 1.3, 1.4)
IMAGENET_SIZES = (96, 128, 160, 192, 224)
# keras.applications normalizes with another ε than PyTorch and this package, which the variance makes good.
KERAS_EPSILON = 1e-3
TORCH_SUFFIXES = (".pth", ".pt", ".safetensors")
FIRST = "Conv1"  # a layer of keras.applications' MobileNetV2 that no network of the builders has
HEAD = "predictions"


def initial_attention(attention, weights):
    """The attention of a network: with weights of a trained one, a kind's λ is 0 at first."""
    return Attention.of(attention) if weights is None else Attention.of(attention, lambda_init=0.0)


def load(model, inputs, weights, width_multiplier, network="mobilenet_v2"):
    """Gives a new network the weights of a trained one.

    Layers of attention that the file lacks stay new, all kernels of a dynamic convolution begin as the
    trained one, and a classifier for another number of classes stays new.

    Args:
        model: The network, as a builder made it.
        inputs: The tensor of images in it. What is in front of it stays as it is.
        weights: What the builder's argument `weights` takes; None for nothing.
        width_multiplier: The network's.
        network: `"mobilenet_v2"`, `"mnasnet"` or `"shufflenet_v2"`, for torchvision's names; `"imagenet"`
            exists for the first.

    Returns:
        The model.

    Raises:
        ValueError: If the weights cannot be had, are damaged, or are those of another network.
    """
    if weights is None:
        return model
    whole, model = model, keras.Model(inputs, model.output, name=model.name)
    if weights == "imagenet":
        path = _download(model, width_multiplier, network)
    elif isinstance(weights, (str, os.PathLike)):
        path = pathlib.Path(weights)
    else:
        raise ValueError(f'`weights` must be None, "imagenet" or a path. Received: weights={weights!r}')
    if path.is_dir():
        path = _model_file(path)
    if not path.is_file():
        raise ValueError(
            f'`weights` must be None, "imagenet" or a path. Received: {path}, which does not exist'
        )
    if path.suffix == ".h5":
        _load_h5(path, model)
    elif path.suffix == ".keras":
        source = _read_keras(path)
        _check_traits(model, source, path)
        _assign(model, _by_our_names(_weights_of(source)), path)
    elif path.suffix in TORCH_SUFFIXES:
        _assign(model, read_torch(path, network), path)
    else:
        suffixes = ", ".join((".h5", ".keras", *TORCH_SUFFIXES))
        raise ValueError(f"`weights` must be a file of {suffixes}, or a run directory. Received: {path}")
    return whole


def _download(model, width_multiplier, network):
    """The path of keras.applications' file, which is downloaded where it is not yet."""
    if network != "mobilenet_v2":
        raise ValueError(
            'weights="imagenet" are those of keras.applications, which has MobileNetV2. For others give '
            'the path of torchvision\'s file (.pth or .safetensors), and padding="torch"'
        )
    if width_multiplier not in IMAGENET_WIDTHS:
        raise ValueError(
            f'with weights="imagenet", `width_multiplier` must be one of {IMAGENET_WIDTHS}. '
            f"Received: width_multiplier={width_multiplier}"
        )
    height, width = (size or 224 for size in model.input_shape[1:3])
    size = min(IMAGENET_SIZES, key=lambda each: abs(each - (height * width) ** 0.5))
    top = "" if _classes(model) == 1000 else "_no_top"
    name = f"mobilenet_v2_weights_tf_dim_ordering_tf_kernels_{float(width_multiplier)}_{size}{top}.h5"
    try:
        return pathlib.Path(keras.utils.get_file(name, IMAGENET_URL + name, cache_subdir="models"))
    except Exception as error:  # Keras raises this class itself
        raise ValueError(
            f"cannot download {IMAGENET_URL}{name} ({str(error).splitlines()[0]}). "
            "Download it elsewhere, and give its path as `weights` (to a recipe: --set model.weights=FILE)"
        ) from error


def _classes(model):
    """Number of the model's classes; None without a classifier."""
    names = [layer.name for layer in model.layers]
    return model.get_layer(HEAD).units if HEAD in names else None


def _model_file(directory):
    """The model in a run directory: the best one, where there is one."""
    for name in ("best.keras", "final.keras"):
        if (directory / name).is_file():
            return directory / name
    raise ValueError(f"`weights` must be a file or a run directory with a best.keras. Received: {directory}")


def _read_keras(path):
    try:
        return keras.saving.load_model(path, compile=False)
    except (ValueError, TypeError, OSError, KeyError, zipfile.BadZipFile) as error:
        reason = str(error).strip().partition("\n")[0][:200]
        raise ValueError(f"{path} is damaged, or not a .keras file ({reason})") from error


def _weights_of(model):
    return {layer.name: layer.get_weights() for layer in model.layers if layer.weights}


def _check_traits(model, source, path):
    """Raises a `ValueError` if the same weights would compute something else: padding, gate, placement."""
    ours, theirs = ({layer.name: layer for layer in each.layers if layer.weights} for each in (model, source))
    for name in () if FIRST in theirs else sorted(ours.keys() & theirs.keys()):
        expected, received = _traits(ours[name]), _traits(theirs[name])
        for key in sorted(expected.keys() & received.keys()):
            if expected[key] != received[key]:
                raise ValueError(
                    f"{path} does not fit {model.name}: layer '{name}' has {key}={expected[key]!r}. "
                    f"Received: {key}={received[key]!r}"
                )


def _traits(layer):
    traits = {key: getattr(layer, key) for key in ("padding", "gate") if hasattr(layer, key)}
    if isinstance(layer, ChannelAttention):
        traits["behind"] = operation_of(node_of(layer.output).input_tensors[0]).name
    return traits


def _load_h5(path, model):
    """Gives the model what a weight file of keras.applications, or of the same network, holds."""
    import h5py  # Keras's own dependency

    try:
        with h5py.File(path) as file:
            described, named = _described(file), dict(_named_layers(file))
            if "layer_names" in file.attrs:
                found = _with_our_epsilon(_in_order(_legacy_layers(file), model))
            else:
                found = _by_our_names(named) if FIRST in named else None
    except OSError as error:
        raise ValueError(f"{path} is damaged, or not a weight file of Keras ({error})") from error
    if found is None:
        try:
            model.load_weights(path)
        except (ValueError, KeyError, OSError) as error:
            raise ValueError(
                f"{path} is neither a weight file of keras.applications' MobileNetV2 nor of this network"
            ) from error
        return
    if not found:
        raise ValueError(f"{path} ({described}) does not fit {model.name}: it has another number of layers")
    _assign(model, found, f"{path} ({described})")


def _in_order(layers, model):
    """Weights by the model's names: Keras 2's files are read by order, as names have changed since."""
    names = [layer.name for layer in model.layers if layer.weights and not _is_new(layer)]
    body = [name for name in names if name != HEAD]
    if len(layers) == len(body) + 1:
        return dict(zip([*body, HEAD], layers, strict=True))
    return dict(zip(body, layers, strict=True)) if len(layers) == len(body) else {}


def _legacy_layers(file):
    """The arrays of every layer that has any, in order, of a file in the layout of Keras 2."""
    layers = []
    for name in file.attrs["layer_names"]:
        group = file[name]
        layers.append([np.asarray(group[weight]) for weight in group.attrs["weight_names"]])
    return [values for values in layers if values]


def _named_layers(file):
    """Name and arrays of every layer that has any, of a `.weights.h5` file."""
    for group in file.get("layers", {}).values():
        values = group.get("vars", {})
        if len(values):
            yield values.attrs.get("name", ""), [np.asarray(values[str(i)]) for i in range(len(values))]


def _by_our_names(found):
    """Weights by the builders' names, where they are by those of keras.applications."""
    if FIRST not in found:
        return found
    return _with_our_epsilon({_our_name(name): values for name, values in found.items()})


def _with_our_epsilon(found):
    """Weights of keras.applications with variances that make good for its ε."""
    for name, values in found.items():
        if name.endswith("_bn"):
            values[-1] = values[-1] + np.float32(KERAS_EPSILON - 1e-5)
    return found


def _our_name(name):
    """The name that the builders give to what keras.applications' MobileNetV2 calls so."""
    fixed = {FIRST: "stem", "bn_Conv1": "stem_bn", "Conv_1": "head", "Conv_1_bn": "head_bn"}
    if name in fixed:
        return fixed[name]
    if name.startswith("expanded_conv_"):
        name = f"block_0_{name.removeprefix('expanded_conv_')}"
    if name.startswith("block_"):
        _, number, part = name.split("_", 2)
        return f"block{int(number) + 1}_{part.replace('_BN', '_bn')}"
    return name


def _described(file):
    """What a weight file seems to hold, for an error."""
    shapes = []
    file.visititems(lambda _, item: shapes.append(getattr(item, "shape", ())))
    for shape in shapes:
        if len(shape) == 4 and shape[:2] == (1, 1) and shape[3] >= 1280:
            for width in IMAGENET_WIDTHS:
                if shape[2] == int(320 * width + 4) // 8 * 8:
                    return f"a MobileNetV2 of width_multiplier {width}"
    return "another network than MobileNetV2"


def _is_new(layer):
    """Whether a file without attention has nothing for a layer."""
    return isinstance(layer, ChannelAttention)


def _assign(model, found, path):
    """Gives every layer its weights, once all names and shapes are seen to fit."""
    layers = {layer.name: layer for layer in model.layers if layer.weights}
    values = {}
    for name, layer in layers.items():
        source = found.get(name)
        shapes, received = _shapes(layer.get_weights()), source and _shapes(source)
        if source is None and (name == HEAD or _is_new(layer)):
            continue
        if received == shapes:
            values[layer] = source
        elif source is not None and isinstance(layer, DynamicConv) and _is_kernel_of(layer, source):
            values[layer] = None
        elif not (name == HEAD and source is not None and len(received) == len(shapes)):
            close = difflib.get_close_matches(name, found, 1)
            raise ValueError(
                f"{path} does not fit {model.name}: layer '{name}' has weights of shapes {shapes}. Received: "
                f"{f'weights of shapes {received}' if received else 'no such layer'}"
                f"{f' (the closest is {close[0]!r})' if close and not received else ''}"
            )
    unused = sorted(set(found) - set(layers) - {HEAD})
    if unused:
        raise ValueError(
            f"{path} does not fit {model.name}: it has layers that are not there, {', '.join(unused[:5])}"
            f"{f' and {len(unused) - 5} more' if len(unused) > 5 else ''}"
        )
    for layer, weights in values.items():
        if weights is not None:
            layer.set_weights(weights)
        else:
            layer.begin_with(found[layer.name][0])


def _is_kernel_of(layer, source):
    """Whether `source` is the kernel of a static convolution that a dynamic one can begin with."""
    return len(source) == 1 and source[0].size == np.prod(layer.kernel.shape[1:])


def _shapes(arrays):
    return [tuple(array.shape) for array in arrays]
