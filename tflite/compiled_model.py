"""A .tflite model in the runtime of LiteRT 2, with the profiler that LiteRT's Python API does not have.

The runtime lies in LiteRT's wheel as a library of its own, which is called here through `ctypes`. Its headers
are `litert/c/*.h` in https://github.com/google-ai-edge/LiteRT. Every function returns 0, or the number of an
error, and handles are pointers. Measured with ai-edge-litert 2.3.0.
"""

import ctypes
import functools
import time
from contextlib import ExitStack
from ctypes import byref, c_char_p, c_int32, c_int64, c_size_t, c_uint32, c_uint64, c_void_p
from dataclasses import dataclass
from pathlib import Path

import ai_edge_litert

from recipes.errors import UserError


@dataclass(frozen=True)
class Event:
    """One operator of one run, as the runtime reports it.

    Attributes:
        kind: What ran: XNNPACK's name of an operator, or TFLite's for one outside XNNPACK.
        index: The model's operator; None inside XNNPACK, which does not know it.
        elapsed_us: What it took.
    """

    kind: str
    index: int | None
    elapsed_us: int


class ProfiledModel:
    """A model compiled for the CPU, whose operators are timed. A context manager.

    Args:
        path: The .tflite file.
        threads: Number of CPU threads.
        inputs: What to feed: a value for the index of each input tensor.

    Raises:
        UserError: The runtime cannot run it.

    Example:

    ```python
    with ProfiledModel(Path("sb.tflite"), 1, {0: image}) as model:
        latency_ms, events = model.run()
    events[0]
    # Event(kind='Convolution (NHWC, F32) IGEMM', index=None, elapsed_us=158)
    ```
    """

    def __init__(self, path, threads, inputs):
        self._path = path
        self._library = _library()
        with ExitStack() as self._stack:  # if anything fails, all is destroyed
            model = self._compile(threads)
            signature = self._create("LiteRtGetModelSignature", model, c_size_t(0))
            self._inputs = self._buffers(signature, "Input", inputs)
            self._outputs = self._buffers(signature, "Output", {})
            self._profiler = self._create("LiteRtCompiledModelGetProfiler", self._compiled)
            self._stack = self._stack.pop_all()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._stack.close()

    def run(self):
        """Runs the model once.

        Returns:
            What the whole run took in milliseconds, and its operators in the order of execution.
        """
        self._call("LiteRtStartProfiler", self._profiler)  # forgets the run before
        start = time.perf_counter()
        self._call(
            "LiteRtRunCompiledModel",
            self._compiled,
            c_size_t(0),
            c_size_t(len(self._inputs)),
            self._inputs,
            c_size_t(len(self._outputs)),
            self._outputs,
        )
        latency_ms = 1000 * (time.perf_counter() - start)
        self._call("LiteRtStopProfiler", self._profiler)
        count = c_int32()
        self._call("LiteRtGetNumProfilerEvents", self._profiler, byref(count))
        events = (_ProfiledEventData * (2 * count.value))()  # twice the room, should a later event be larger
        self._call("LiteRtGetProfilerEvents", self._profiler, count, events)
        return latency_ms, self._operators(events[: count.value])

    def _operators(self, events):
        if any(event.type not in _EVENT_TYPES for event in events):  # reading the names would crash
            raise UserError(f"{self._path}: expected events as ai-edge-litert 2.3 has them, received others")
        return [
            Event(event.tag.decode(), event.index if event.type == _OPERATOR else None, event.elapsed_us)
            for event in events
            if event.type in (_OPERATOR, _XNNPACK_OPERATOR)
        ]

    def _compile(self, threads):
        """Loads and compiles the model, both destroyed with the stack; the model."""
        settings = (_EnvironmentOption * 2)(
            _EnvironmentOption(tag=_ACCELERATORS, type=_INTEGER, value=_CPU),
            _EnvironmentOption(tag=_LOG_SEVERITY, type=_INTEGER, value=_ERROR),
        )
        self._environment = self._create(
            "LiteRtCreateEnvironment", len(settings), settings, destroy="Environment"
        )
        model = self._create(
            "LiteRtCreateModelFromFile", self._environment, str(self._path).encode(), destroy="Model"
        )
        options = self._create("LiteRtCreateOptions", destroy="Options")
        self._call("LiteRtSetOptionsHardwareAccelerators", options, _CPU)
        # The C API has no functions for these; they travel as TOML.
        self._add_option(options, b"xnnpack", f"num_threads = {threads}\n")
        self._add_option(options, b"runtime_options_string", "enable_profiling = true\n")
        self._compiled = self._create(
            "LiteRtCreateCompiledModel", self._environment, model, options, destroy="CompiledModel"
        )
        return model

    def _add_option(self, options, identifier, toml):
        payload = ctypes.create_string_buffer(toml.encode())
        self._stack.callback(lambda: payload)  # lives as long as the options
        option = self._create("LiteRtCreateOpaqueOptions", identifier, payload, _leave)
        self._call("LiteRtAddOpaqueOptions", options, option)

    def _buffers(self, signature, side, values):
        """An array of buffers for all inputs or outputs, filled where there are values."""
        count = c_size_t()
        self._call(f"LiteRtGetNumSignature{side}s", signature, byref(count))
        buffers = (c_void_p * count.value)()
        for position in range(count.value):
            tensor = self._create(f"LiteRtGetSignature{side}TensorByIndex", signature, c_size_t(position))
            requirements = self._create(
                f"LiteRtGetCompiledModel{side}BufferRequirements",
                self._compiled,
                c_size_t(0),
                c_size_t(position),
            )
            tensor_type = (c_int32 * 64)()  # LiteRtRankedTensorType, of which only the sizes matter here
            self._call("LiteRtGetRankedTensorType", tensor, tensor_type)
            tensor_type[:] = [1 if number == -1 else number for number in tensor_type]  # an unknown batch
            buffer = self._create(
                "LiteRtCreateManagedTensorBufferFromRequirements",
                self._environment,
                tensor_type,
                requirements,
                destroy="TensorBuffer",
            )
            buffers[position] = buffer.value
            if values:
                index = c_uint32()
                self._call("LiteRtGetTensorIndex", tensor, byref(index))
                self._fill(buffer, values[index.value])
        return buffers

    def _fill(self, buffer, value):
        size_bytes = c_size_t()
        self._call("LiteRtGetTensorBufferPackedSize", buffer, byref(size_bytes))
        if size_bytes.value != value.nbytes:
            raise UserError(
                f"{self._path}: expected an input of {size_bytes.value} bytes, received {value.nbytes}"
            )
        address = c_void_p()
        self._call("LiteRtLockTensorBuffer", buffer, byref(address), _WRITE)
        ctypes.memmove(address, value.tobytes(), value.nbytes)
        self._call("LiteRtUnlockTensorBuffer", buffer)

    def _create(self, function, *arguments, destroy=""):
        """Calls a function whose last argument receives a handle."""
        handle = c_void_p()
        self._call(function, *arguments, byref(handle))
        if destroy:
            self._stack.callback(getattr(self._library, f"LiteRtDestroy{destroy}"), handle)
        return handle

    def _call(self, function, *arguments):
        status = getattr(self._library, function)(*arguments)
        if status:
            raise UserError(
                f"{self._path}: expected a model that LiteRT can profile, "
                f"received error {status} of {function}"
            )


class _EnvironmentOption(ctypes.Structure):
    """LiteRtEnvOption whose value is an integer."""

    _fields_ = (("tag", c_int32), ("_", c_int32), ("type", c_int32), ("value", c_int64))


class _ProfiledEventData(ctypes.Structure):
    """ProfiledEventData of litert_profiler_event.h, as the library, which is C++, has it."""

    _fields_ = (
        ("tag", c_char_p),
        ("type", c_int32),
        ("start_us", c_uint64),
        ("elapsed_us", c_uint64),
        ("memory", c_int64 * 6),
        ("index", c_int64),
        ("subgraph", c_int64),
        ("source", c_int32),
    )


_INTEGER = 2  # a type of values
_ACCELERATORS, _LOG_SEVERITY = 24, 25  # tags of environment options
_CPU, _ERROR = 1, 3  # and their values
_WRITE = 1  # a mode of locking
_OPERATOR, _XNNPACK_OPERATOR = 2, 8  # types of events
_EVENT_TYPES = {1 << bit for bit in range(9)}


@ctypes.CFUNCTYPE(None, c_void_p)
def _leave(payload):
    """What the runtime calls to free an option: nothing, since Python owns it."""


@functools.cache
def _library():
    folder = Path(next(iter(ai_edge_litert.__path__)))
    files = sorted(folder.glob("libLiteRt.*"))
    if not files:
        raise UserError(f"expected the library libLiteRt in {folder}, received a LiteRT without it")
    return ctypes.CDLL(str(files[0]))
