"""Runs steps in turn, each variant in a process of its own, and measures time and memory."""

import contextlib
import dataclasses
import multiprocessing
import os
import pathlib
import statistics
import sys
import time


@dataclasses.dataclass(frozen=True)
class Measurement:
    """What one variant took a step: medians and quartiles over the rounds."""

    wall_ms: float
    wall_ms_q1: float
    wall_ms_q3: float
    cpu_ms: float
    peak_mb: float  # of memory, beyond what the process held before the network was built


def alternate(factories, rounds, warm_up=3, environments=None):
    """Measures the steps that factories make.

    Every variant is built in a process of its own, and then all take one step in turn, round after round:
    what else the machine does in the meantime hits all alike. A process that waits for its turn sleeps.

    Args:
        factories: Name (a string or several) → picklable function that returns a step, a function
            without arguments.
        rounds: Number of measured rounds.
        warm_up: Number of rounds before.
        environments: Name → variables that its process's environment has beside this one's.

    Returns:
        Name → `Measurement`.

    Raises:
        RuntimeError: If a variant fails; the message names it.
    """
    context = multiprocessing.get_context("spawn")
    pipes, processes = {}, []
    try:
        for name, factory in factories.items():
            pipes[name], child = context.Pipe()
            process = context.Process(target=_serve, args=(factory, warm_up, child), daemon=True)
            with environment((environments or {}).get(name, {})):
                process.start()
            processes.append(process)
            child.close()
        for number, (name, pipe) in enumerate(pipes.items(), start=1):
            _progress(f"building {number} of {len(factories)}: {_words(name)}")
            _receive(pipe, name)
        samples = {name: [] for name in factories}
        for number in range(1, rounds + 1):
            _progress(f"round {number} of {rounds}")
            names = list(pipes)
            first = number % len(names)  # each goes first equally often
            for name in names[first:] + names[:first]:
                pipes[name].send("step")
                samples[name].append(_receive(pipes[name], name))
        return {name: _summary(values) for name, values in samples.items()}
    finally:
        _progress("")
        for process in processes:
            process.terminate()
            process.join()


@contextlib.contextmanager
def environment(variables):
    """The environment of processes that are started meanwhile."""
    before = dict(os.environ)
    os.environ.update(variables)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


def _serve(factory, warm_up, pipe):
    try:
        before = _resident_mb("VmRSS")
        step = factory()
        for _ in range(warm_up):
            step()
        _forget_peak()
        pipe.send(None)
        while pipe.recv() == "step":
            wall, cpu = time.perf_counter(), time.process_time()
            step()
            wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
            pipe.send((1000 * wall, 1000 * cpu, _resident_mb("VmHWM") - before))
    except EOFError:
        pass
    except Exception as error:
        pipe.send(f"{type(error).__name__}: {error}")
        raise


def _receive(pipe, name):
    try:
        answer = pipe.recv()
    except EOFError:
        answer = "its process ended"
    if isinstance(answer, str):
        raise RuntimeError(f"{_words(name)} failed: {answer}")
    return answer


def _words(name):
    return name if isinstance(name, str) else " ".join(name)


def _summary(samples):
    wall, cpu, peak = zip(*samples, strict=True)
    q1, median, q3 = statistics.quantiles(wall, n=4)
    return Measurement(median, q1, q3, statistics.median(cpu), max(peak))


def _resident_mb(field):
    """Linux's count of this process's memory: now (VmRSS) or at most so far (VmHWM)."""
    for line in pathlib.Path("/proc/self/status").read_text().splitlines():
        if line.startswith(field):
            return int(line.split()[1]) / 1024
    raise RuntimeError(f"/proc/self/status has no {field}")


def _forget_peak():
    """Building and tracing may take more than training."""
    pathlib.Path("/proc/self/clear_refs").write_text("5")


def _progress(text):
    if sys.stderr.isatty():
        print(f"\r\033[K{text}", end="", file=sys.stderr, flush=True)
    elif text.startswith("building"):
        print(text, file=sys.stderr, flush=True)
