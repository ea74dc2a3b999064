"""Measures how long .tflite files take on the CPU, against each other.

A shared or warm machine drifts by more than two models differ, so the files take turns: every round times
each file once, in a new order, and a file is compared with the first one round by round. An untimed run
precedes each timed one: another model has left its weights in the caches, and without it MobileNetV2 ×0.35
took 10 to 25 % longer, so that a latency would depend on the files that it is listed with.
"""

import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from ai_edge_litert.interpreter import Interpreter

from recipes.command import quiet
from recipes.errors import UserError
from recipes.files import distinct_labels
from tflite.delegation import Delegation, find_delegation


@dataclass(frozen=True)
class Row:
    """One file at one thread count.

    Attributes:
        label: The shortest end of the path that tells the file from the others.
        path: The file as it was given.
        size_bytes: Size of the file.
        threads: Number of CPU threads.
        runs: Number of timed runs.
        latency_ms_median: Median latency of one inference; p10, p90 and p99 are the percentiles around it.
        ratio: Median over the rounds of this file's latency over the first file's in the same round.
        delegation: What XNNPACK runs of the file, and what it does not.
    """

    label: str
    path: str
    size_bytes: int
    threads: int
    runs: int
    latency_ms_median: float
    latency_ms_p10: float
    latency_ms_p90: float
    latency_ms_p99: float
    ratio: float
    delegation: Delegation


def measure(paths, threads=(1,), runs=50, warmup=5, seed=0, progress=lambda done, total: None):
    """Times .tflite files on random input, taking turns.

    Args:
        paths: The files; the first is the one that the others are compared with.
        threads: Thread counts, each measured on its own.
        runs: Timed runs of each file at each thread count.
        warmup: Untimed runs of each file before those.
        seed: Seeds the input and the order of the files.
        progress: Called after every round with the rounds done and the rounds in all.

    Returns:
        A row for each thread count and file, in the order given.

    Raises:
        UserError: A count is too small, or a file is missing, is no TFLite model, or cannot run in LiteRT on
            random input. All of it is checked before anything is timed.

    Example:

    ```python
    static, sb = measure(["static.tflite", "sb.tflite"])
    print(f"{sb.latency_ms_median:.2f} ms, {sb.ratio:.2f} times static")
    # 2.75 ms, 1.66 times static
    ```
    """
    _check_counts(paths, threads, runs, warmup, seed)
    paths = [Path(path) for path in paths]
    for path in paths:
        _check_is_tflite(path)

    rows = []
    for turn, thread_count in enumerate(threads):
        interpreters = [load(path, thread_count, seed) for path in paths]
        latencies_ms = take_turns(
            [interpreter.invoke for interpreter in interpreters],
            runs,
            warmup,
            seed,
            progress=lambda done, turn=turn: progress(turn * runs + done, len(threads) * runs),
        )
        for path, label, interpreter, statistics in zip(
            paths, distinct_labels(paths), interpreters, summarize(latencies_ms), strict=True
        ):
            rows.append(
                Row(
                    label=label,
                    path=str(path),
                    size_bytes=path.stat().st_size,
                    threads=thread_count,
                    runs=runs,
                    **statistics,
                    delegation=find_delegation(interpreter),
                )
            )
    return rows


def load(path, threads, seed):
    """Loads a model, fills its inputs with random values and runs it once.

    A float input gets standard normal values, an integer input its type's full range. A batch of unknown size
    becomes 1.

    Raises:
        UserError: LiteRT cannot run it, or an input's shape or type leaves open what to feed.
    """
    try:
        interpreter = Interpreter(str(path), num_threads=threads)
    except (ValueError, RuntimeError) as error:
        raise UserError(
            f"{path}: expected a model that LiteRT loads, received: {_one_line(error)}"
        ) from error
    inputs = interpreter.get_input_details()
    for tensor in inputs:
        if -1 in tensor["shape_signature"][1:]:
            shape = ", ".join("?" if size == -1 else str(size) for size in tensor["shape_signature"])
            raise UserError(
                f"{path}: expected inputs of known size (only the batch may be unknown), "
                f"received {tensor['name']!r} of shape ({shape}); convert it with a fixed input shape"
            )
    try:
        with quiet():  # it says that it has XNNPACK
            interpreter.allocate_tensors()
        generator = np.random.default_rng(seed)
        for tensor in inputs:
            interpreter.set_tensor(tensor["index"], _random_values(tensor, path, generator))
        interpreter.invoke()
    except RuntimeError as error:
        raise UserError(f"{path}: expected a model that LiteRT runs, received: {_one_line(error)}") from error
    return interpreter


def take_turns(invokes, runs, warmup, seed=0, progress=lambda done: None, clock=time.perf_counter):
    """Times callables in rounds; a round runs each of them once, in a random order of its own.

    Rotating the order would not do: the second file would still follow the first in nearly every round.

    Args:
        invokes: What to time.
        runs: Number of timed rounds.
        warmup: Number of untimed rounds before those.
        seed: Seeds the order.
        progress: Called with the number of timed rounds done, after each.
        clock: Gives the time in seconds.

    Returns:
        Latencies in milliseconds, shape (runs, len(invokes)).
    """
    for _ in range(warmup):
        for invoke in invokes:
            invoke()
    generator = np.random.default_rng(seed)
    latencies_ms = np.empty((runs, len(invokes)))
    for run in range(runs):
        for index in generator.permutation(len(invokes)):
            invokes[index]()  # brings its weights back into the caches
            start = clock()
            invokes[index]()
            latencies_ms[run, index] = 1000 * (clock() - start)
        progress(run + 1)
    return latencies_ms


def summarize(latencies_ms):
    """Reduces what `take_turns` returns to statistics a file, keyed by `Row`'s field names."""
    median, p10, p90, p99 = np.percentile(latencies_ms, (50, 10, 90, 99), axis=0)
    # A slow moment slows a whole round, so it cancels within the round and not between two medians.
    ratio = np.median(latencies_ms / latencies_ms[:, :1], axis=0)
    names = ("latency_ms_median", "latency_ms_p10", "latency_ms_p90", "latency_ms_p99", "ratio")
    return [
        dict(zip(names, map(float, column), strict=True))
        for column in zip(median, p10, p90, p99, ratio, strict=True)
    ]


def _check_counts(paths, threads, runs, warmup, seed):
    if not paths:
        raise UserError("files: expected at least one, received none")
    if not threads or min(threads) < 1 or len(set(threads)) < len(threads):
        raise UserError(f"threads: expected different counts of at least 1, received {_listed(threads)}")
    if runs < 1:
        raise UserError(f"runs: expected at least 1, received {runs}")
    if warmup < 0:
        raise UserError(f"warmup: expected at least 0, received {warmup}")
    if seed < 0:
        raise UserError(f"seed: expected at least 0, received {seed}")


def _check_is_tflite(path):
    if not path.is_file():
        received = "a directory" if path.is_dir() else "nothing there"
        raise UserError(f"{path}: expected a .tflite file, received {received}")
    with path.open("rb") as file:
        start = file.read(8)
    if start[4:] != b"TFL3":
        raise UserError(f"{path}: expected a TFLite model (b'TFL3' at byte 4), received {start[4:]!r}")


def _random_values(tensor, path, generator):
    dtype, shape = np.dtype(tensor["dtype"]), tensor["shape"]
    if dtype.kind == "f":
        return generator.standard_normal(shape).astype(dtype)
    if dtype.kind in "iu":
        limits = np.iinfo(dtype)
        return generator.integers(limits.min, limits.max, size=shape, dtype=dtype, endpoint=True)
    if dtype.kind == "b":
        return generator.integers(0, 2, size=shape).astype(dtype)
    raise UserError(f"{path}: expected inputs of numbers, received {tensor['name']!r} of type {dtype.name}")


def _listed(values):
    return ", ".join(map(str, values)) or "none"


def _one_line(error):
    return " ".join(str(error).split())
