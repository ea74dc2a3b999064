"""torchvision's state dictionaries as weights of this package's networks.

The names are those of torchvision's modules `mobilenet_v2`, `mnasnet0_5` … and `shufflenet_v2_x0_5` …; only
tensors are read, never code.
"""

import json
import re

import numpy as np

_DTYPES = {"F64": "float64", "F32": "float32", "F16": "float16", "BF16": "uint16", "I64": "int64"}


def read_torch(path, network):
    """The weights of a `.pth` or `.safetensors` file: a dictionary from names of our layers to arrays.

    Raises:
        ValueError: If the file is damaged, holds something else than tensors, or is of another network.
    """
    tensors = _read_safetensors(path) if path.suffix == ".safetensors" else _read_pickle(path)
    if network not in _NAMES:
        raise ValueError(f"torchvision has no {network}, only {', '.join(_NAMES)}. Received: weights={path}")
    names, layers = _NAMES[network], {}
    for key in tensors:
        module, _, kind = key.rpartition(".")
        if kind == "num_batches_tracked":
            continue
        name = names(module)
        if name is None:
            raise ValueError(f"{path} is no state dictionary of torchvision's {network}: it has {key!r}")
        layers.setdefault(name, {})[kind] = tensors[key]
    return {name: _as_keras(name, parts, path) for name, parts in layers.items()}


def _as_keras(name, parts, path):
    """One layer's arrays, in Keras's order and layout."""
    kinds = ("weight", "bias", "running_mean", "running_var") if name.endswith("_bn") else ("weight", "bias")
    unknown = set(parts) - set(kinds)
    if unknown or "weight" not in parts:
        raise ValueError(f"{path}: layer '{name}' must have {', '.join(kinds)}. Received: {', '.join(parts)}")
    values = [np.asarray(parts[kind], "float32") for kind in kinds if kind in parts]
    kernel = values[0]
    if kernel.ndim == 2:
        return [kernel.T, *values[1:]]
    if kernel.ndim == 4:  # (out, in, height, width); a depthwise kernel has one input channel
        axes = (2, 3, 0, 1) if name.endswith("depthwise") else (2, 3, 1, 0)
        return [kernel.transpose(axes), *values[1:]]
    return values


def _read_pickle(path):
    try:
        import torch
    except ImportError as error:
        raise ValueError(
            f"{path} needs PyTorch to be read (pip install torch), or give a .safetensors"
        ) from error
    try:
        tensors = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # pickle, zip and torch each raise their own
        raise ValueError(
            f"{path} is damaged, or holds something else than tensors, which is not loaded "
            f"({type(error).__name__})"
        ) from error
    if not isinstance(tensors, dict) or not all(
        isinstance(value, torch.Tensor) for value in tensors.values()
    ):
        raise ValueError(f"{path} must hold a dictionary of tensors. Received: {type(tensors).__name__}")
    return {key: value.detach().float().numpy() for key, value in tensors.items()}  # also of bfloat16


def _read_safetensors(path):
    """Reads the format: the length of a JSON header (8 bytes), the header, and the tensors in a row."""
    content = path.read_bytes()
    try:
        length = int.from_bytes(content[:8], "little")
        header = json.loads(content[8 : 8 + length])
        tensors = {}
        for key, entry in header.items():
            if key != "__metadata__":
                begin, end = (8 + length + offset for offset in entry["data_offsets"])
                values = np.frombuffer(content[begin:end], _DTYPES[entry["dtype"]])
                if entry["dtype"] == "BF16":  # the upper halves of float32
                    values = (values.astype("uint32") << 16).view("float32")
                tensors[key] = values.reshape(entry["shape"])
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"{path} is damaged, or not a .safetensors file of floats ({error!r})") from error
    return tensors


def _mobilenet_v2(module):
    if module == "classifier.1":
        return "predictions"
    match = re.fullmatch(r"features\.(\d+)\.(conv\.)?([\d.]+)", module)
    if not match:
        return None
    block, inside, part = int(match[1]), match[2], match[3]
    if not inside:
        unit = {0: "stem", 18: "head"}.get(block)
        return unit and {"0": unit, "1": f"{unit}_bn"}.get(part)
    units = ("depthwise", "project") if block == 1 else ("expand", "depthwise", "project")
    last = len(units) - 1  # the projection is not in a block of its own
    names = {f"{i}.0": unit for i, unit in enumerate(units[:-1])} | {f"{last}": "project"}
    names |= {f"{i}.1": f"{unit}_bn" for i, unit in enumerate(units[:-1])} | {f"{last + 1}": "project_bn"}
    return f"block{block}_{names[part]}" if part in names else None


def _mnasnet(module):
    if module == "classifier.1":
        return "predictions"
    fixed = ("stem", "stem_bn", None, "block1_depthwise", "block1_depthwise_bn", None, "block1_project")
    fixed = dict(enumerate(fixed)) | {7: "block1_project_bn", 14: "head", 15: "head_bn"}
    match = re.fullmatch(r"layers\.(\d+)(?:\.(\d+)\.layers\.(\d))?", module)
    if not match:
        return None
    stage = int(match[1])
    if match[2] is None:
        return fixed.get(stage)
    block = 2 + sum((3, 3, 3, 2, 4, 1)[: stage - 8]) + int(match[2])
    units = {0: "expand", 1: "expand_bn", 3: "depthwise", 4: "depthwise_bn", 6: "project", 7: "project_bn"}
    return f"block{block}_{units[int(match[3])]}" if int(match[3]) in units else None


def _shufflenet_v2(module):
    fixed = {
        "conv1.0": "stem",
        "conv1.1": "stem_bn",
        "conv5.0": "head",
        "conv5.1": "head_bn",
        "fc": "predictions",
    }
    if module in fixed:
        return fixed[module]
    match = re.fullmatch(r"stage(\d)\.(\d+)\.branch(\d)\.(\d)", module)
    if not match:
        return None
    shortcut = {
        0: "shortcut_depthwise",
        1: "shortcut_depthwise_bn",
        2: "shortcut_project",
        3: "shortcut_project_bn",
    }
    trunk = {0: "expand", 1: "expand_bn", 3: "depthwise", 4: "depthwise_bn", 5: "project", 6: "project_bn"}
    part = (shortcut if match[3] == "1" else trunk).get(int(match[4]))
    return part and f"stage{match[1]}_unit{int(match[2]) + 1}_{part}"


_NAMES = {"mobilenet_v2": _mobilenet_v2, "mnasnet": _mnasnet, "shufflenet_v2": _shufflenet_v2}
