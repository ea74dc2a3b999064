"""What a .tflite file says about itself: class names, normalization, origin and license.

The format is TensorFlow's `metadata_schema.fbs`
(https://github.com/tensorflow/tflite-support/blob/master/tensorflow_lite_support/metadata/metadata_schema.fbs):
a flatbuffer, kept in a buffer of the model, that names files in a zip archive at the end of the model.
MediaPipe Tasks, Android Studio and Netron read it.
"""

import io
import pathlib
import struct
import zipfile
import zlib
from dataclasses import dataclass

import flatbuffers
import numpy as np
from ai_edge_litert import schema_py_generated as schema
from flatbuffers.number_types import UOffsetTFlags
from flatbuffers.table import Table

from recipes.errors import UserError
from tflite import model_file
from tflite.metadata_table import child, children, number, numbers, text, write_tree

# The outputs of `tflite.detector`, named as in TensorFlow's object-detection models.
DETECTION_OUTPUTS = ("detection_boxes", "detection_classes", "detection_scores", "num_detections")
LABELS_FILE = "labels.txt"
RECIPE_FILE = "recipe.json"

_IDENTIFIER = b"M001"
_ENTRY = b"TFLITE_METADATA"
_IMAGE_PROPERTIES, _RGB, _NORMALIZATION = 2, 1, 1
_BOUNDING_BOX_PROPERTIES, _BOUNDARIES = 3, 1
_DESCRIPTIONS, _TENSOR_AXIS_LABELS, _TENSOR_VALUE_LABELS = 1, 2, 3
# What MediaPipe's ObjectDetector looks for, in the order of `DETECTION_OUTPUTS`.
_DETECTION = ("location", "category", "score", "number of detections")
# What flatbuffers, zipfile and NumPy raise on bytes that are not what they should be.
_DAMAGED = (
    AttributeError,
    EOFError,
    LookupError,
    RuntimeError,
    TypeError,
    ValueError,
    struct.error,
    zipfile.BadZipFile,
    zlib.error,
)


@dataclass(frozen=True, kw_only=True)
class Metadata:
    """What a .tflite file of an image classifier or a detector says about itself.

    Attributes:
        name: Name of the network.
        description: What it does, for people.
        version: Version of the network.
        author: Who made it.
        license: Under what terms it may be used.
        labels: Names of the classes in the order of the outputs; None if they have none.
        mean: Mean of red, green and blue, of pixels in [0, 1], that the file's input is normalized with;
            None where the file does not say.
        std: Standard deviation of red, green and blue, likewise. An input of plain pixels from 0 to 255 has
            mean 0 and std 1/255.
        recipe: The recipe that it was trained by, as JSON; None if it had none.

    """

    name: str
    description: str = ""
    version: str = ""
    author: str = ""
    license: str = ""
    labels: tuple[str, ...] | None = None
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None
    recipe: str | None = None


def add_metadata(content, metadata):
    """Writes metadata into a model.

    The same arguments give the same bytes. Nothing that the model computes changes. Labels and recipe are
    files in the zip archive at the end (`unzip -p model.tflite labels.txt`).

    Args:
        content: The bytes of a .tflite model with one image as input. Metadata that it has are replaced.
        metadata: A `Metadata`. The labels go to the first output that has as many values, or to a
            detector's classes.

    Returns:
        The bytes of the model with metadata.

    Raises:
        UserError: If a label is not one line of text.

    Example:

    ```python
    content = convert(model)
    metadata = Metadata(name="digits", labels=tuple("0123456789"), mean=(0.5,) * 3, std=(0.5,) * 3)
    pathlib.Path("digits.tflite").write_bytes(add_metadata(content, metadata))
    ```
    """
    for label in metadata.labels or ():
        if label.splitlines() != [label]:
            raise UserError(f"a class name must be one line of text. Received: {label!r}")
    model = model_file.read(content)
    (graph,) = model.subgraphs
    description = flatbuffers.Builder()
    tree = _describe(metadata, [graph.tensors[output] for output in graph.outputs])
    description.Finish(write_tree(description, tree), _IDENTIFIER)
    others = [entry for entry in model.metadata or () if entry.name != _ENTRY]
    model.metadata = [*others, schema.MetadataT(_ENTRY, len(model.buffers))]
    model.buffers.append(schema.BufferT(np.frombuffer(description.Output(), np.uint8)))

    buffer = io.BytesIO(model_file.write(model))
    with zipfile.ZipFile(buffer, "a") as archive:  # without dates: the same network, the same bytes
        if metadata.labels is not None:
            archive.writestr(zipfile.ZipInfo(LABELS_FILE), "\n".join(metadata.labels) + "\n")
        if metadata.recipe is not None:
            archive.writestr(zipfile.ZipInfo(RECIPE_FILE), metadata.recipe)
    return buffer.getvalue()


def read_metadata(path):
    """Reads what `add_metadata`, or another writer of the format, wrote into a classifier or a detector.

    Args:
        path: Path of a .tflite file.

    Returns:
        A `Metadata`, in which a text that is not there is empty; None if the file has no metadata.

    Raises:
        UserError: If the file is missing, is no .tflite file, or is truncated.

    Example:

    ```python
    metadata = read_metadata("digits.tflite")
    print(metadata.labels)
    ```
    """
    try:
        content = pathlib.Path(path).read_bytes()
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror}") from error
    if content[4:8] != model_file.IDENTIFIER:
        raise UserError(f"{path} is not a .tflite file")
    try:
        root = _find(content)
        if root is None:
            return None
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            return _parse(root, archive)
    except _DAMAGED as error:
        raise UserError(f"{path} is damaged or incomplete") from error


def _describe(metadata, outputs):
    """The metadata as the schema has it: a dict is a table, a list a vector, an int an enumerated value."""
    labels = {"name": LABELS_FILE, "description": "names of the classes", "type": _TENSOR_AXIS_LABELS}
    recipe = {"name": RECIPE_FILE, "description": "how it was trained", "type": _DESCRIPTIONS}
    image = {
        "name": "image",
        "description": "RGB image, normalized as (pixel - mean) / std",
        "content": {
            "content_properties_type": _IMAGE_PROPERTIES,
            "content_properties": {"color_space": _RGB},
        },
        "process_units": [],
    }
    if metadata.mean is not None:
        normalization = {  # the schema's is of pixels from 0 to 255
            "mean": 255 * np.array(metadata.mean, "float32"),
            "std": 255 * np.array(metadata.std, "float32"),
        }
        image["process_units"] = [{"options_type": _NORMALIZATION, "options": normalization}]

    if [tensor.name.decode() for tensor in outputs] == list(DETECTION_OUTPUTS):
        described = _detection({**labels, "type": _TENSOR_VALUE_LABELS}, metadata.labels)
    else:
        fitting = [each for each in outputs if each.shape[-1] == len(metadata.labels or ())]
        described = {"output_tensor_metadata": [_output(each, labels, fitting[:1]) for each in outputs]}
    return {
        "name": metadata.name,
        "description": metadata.description,
        "version": metadata.version,
        "author": metadata.author,
        "license": metadata.license,
        "associated_files": [] if metadata.recipe is None else [recipe],
        "subgraph_metadata": [{"input_tensor_metadata": [image], **described}],
        "min_parser_version": "1.0.0",
    }


def _output(tensor, file, labelled):
    if any(tensor is each for each in labelled):
        return {"name": "probability", "associated_files": [file]}
    return {"name": tensor.name.decode()}  # MediaPipe reads the name of every output, and expects one


def _detection(file, labels):
    """What a detector's four outputs are: ymin, xmin, ymax, xmax; classes; scores; their number."""
    tensors: list[dict] = [{"name": name} for name in _DETECTION]
    corners = {"index": np.array([1, 0, 3, 2], "uint32"), "box_type": _BOUNDARIES}  # where left, top … are
    tensors[0]["content"] = {
        "content_properties_type": _BOUNDING_BOX_PROPERTIES,
        "content_properties": corners,
    }
    if labels is not None:
        tensors[1]["associated_files"] = [file]
    group = {"name": "detection_result", "tensor_names": list(_DETECTION[:3])}
    return {"output_tensor_metadata": tensors, "output_tensor_groups": [group]}


def _find(content):
    """The metadata in a model, as a flatbuffer table; None if there are none."""
    model = schema.Model.GetRootAs(content)
    for index in range(model.MetadataLength()):
        entry = model.Metadata(index)
        if entry.Name() == _ENTRY:
            described = model.Buffers(entry.Buffer()).DataAsNumpy().tobytes()
            return Table(described, UOffsetTFlags.packer_type.unpack_from(described)[0])
    return None


def _parse(root, archive):
    graph = children(root, "subgraph_metadata")[0]
    image = children(graph, "input_tensor_metadata")[0]
    units = [
        unit for unit in children(image, "process_units") if number(unit, "options_type") == _NORMALIZATION
    ]
    normalization = child(units[0], "options") if units else None
    labels = [
        archive.read(text(file, "name")).decode().splitlines()
        for output in children(graph, "output_tensor_metadata")
        for file in children(output, "associated_files")
        if number(file, "type") in (_TENSOR_AXIS_LABELS, _TENSOR_VALUE_LABELS)
    ]
    return Metadata(
        name=text(root, "name"),
        description=text(root, "description"),
        version=text(root, "version"),
        author=text(root, "author"),
        license=text(root, "license"),
        labels=tuple(labels[0]) if labels else None,
        mean=_channels(normalization, "mean") if normalization else None,
        std=_channels(normalization, "std") if normalization else None,
        recipe=archive.read(RECIPE_FILE).decode() if RECIPE_FILE in archive.namelist() else None,
    )


def _channels(normalization, field):
    """Mean or standard deviation of each channel, of pixels in [0, 1], to float32's seven digits."""
    values = numbers(normalization, field)
    red, green, blue = values if len(values) > 1 else 3 * values
    return tuple(float(f"{value / 255:.7g}") for value in (red, green, blue))
