"""Flatbuffer tables of TFLite's metadata, written and read by the names of their fields.

A generated module would need the schema's compiler; this needs the number of each field alone.
"""

import numpy as np
from flatbuffers.number_types import Float32Flags, Uint8Flags
from flatbuffers.table import Table

# The number of each field in its table, from the schema; the same names have the same number in all of them.
_SLOTS = {
    **{"name": 0, "description": 1},  # ModelMetadata, TensorMetadata, AssociatedFile
    **{"version": 2, "subgraph_metadata": 3, "author": 4, "license": 5},  # ModelMetadata
    **{"associated_files": 6, "min_parser_version": 7},  # ModelMetadata; the first in TensorMetadata too
    **{
        "input_tensor_metadata": 2,
        "output_tensor_metadata": 3,
        "output_tensor_groups": 8,
    },  # SubGraphMetadata
    **{"tensor_names": 1},  # TensorGroup
    **{"content": 3, "process_units": 4},  # TensorMetadata
    **{"content_properties_type": 0, "content_properties": 1},  # Content
    **{"color_space": 0},  # ImageProperties
    **{"index": 0, "box_type": 1},  # BoundingBoxProperties
    **{"options_type": 0, "options": 1},  # ProcessUnit
    **{"mean": 0, "std": 1},  # NormalizationOptions
    **{"type": 2},  # AssociatedFile
}


def write_tree(builder, value):
    """Writes a tree of values, what it holds first, and returns its offset.

    Args:
        builder: A `flatbuffers.Builder`.
        value: A dict is a table, a list a vector, an integer an enumerated value.
    """
    if isinstance(value, str):
        return builder.CreateString(value)
    if isinstance(value, np.ndarray):
        return builder.CreateNumpyVector(value)
    if isinstance(value, list):
        offsets = [write_tree(builder, each) for each in value]
        builder.StartVector(4, len(offsets), 4)
        for offset in reversed(offsets):
            builder.PrependUOffsetTRelative(offset)
        return builder.EndVector()
    fields = {name: x if isinstance(x, int) else write_tree(builder, x) for name, x in value.items()}
    builder.StartObject(1 + max(_SLOTS[name] for name in fields))
    for name, x in fields.items():
        if isinstance(value[name], int):
            builder.PrependUint8Slot(_SLOTS[name], x, 0)
        else:
            builder.PrependUOffsetTRelativeSlot(_SLOTS[name], x, 0)
    return builder.EndObject()


def numbers(table, field):
    """A vector of floats."""
    return table.GetVectorAsNumpy(Float32Flags, _position(table, field)).tolist()


def number(table, field):
    """An enumerated value; 0 where there is none."""
    return table.GetSlot(4 + 2 * _SLOTS[field], 0, Uint8Flags)


def text(table, field):
    """A text; empty where there is none."""
    position = _position(table, field)
    return table.String(table.Pos + position).decode() if position else ""


def child(table, field):
    """A table within the table."""
    return Table(table.Bytes, table.Indirect(table.Pos + _position(table, field)))


def children(table, field):
    """A vector of tables."""
    position = _position(table, field)
    if not position:
        return []
    start = table.Vector(position)
    return [Table(table.Bytes, table.Indirect(start + 4 * i)) for i in range(table.VectorLen(position))]


def _position(table, field):
    """Where the table has the field; 0 if it has none."""
    return table.Offset(4 + 2 * _SLOTS[field])
