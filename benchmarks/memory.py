"""How much memory an evaluation takes, over the number of test pictures.

python -m benchmarks.memory [--pictures N ...] [--image-size PIXELS] [--csv FILE] [--plot FILE]

Every row is a process of its own, `python -m tflite.evaluate`, which evaluates a .tflite file and the Keras
model that it was made of on a folder of JPEGs; its largest resident memory is what the system says it was.
"""

import argparse
import os
import pathlib
import subprocess
import sys
import tempfile
import time

import numpy as np
import PIL.Image

from benchmarks import output
from recipes.command import exit_code

HEAD = ("pictures", "seconds", "peak_memory_mb")
CLASSES = ("one", "other")
DIFFERENT = 20  # pictures; the others are links to them
PHOTO = (500, 375)  # width and height, as ImageNet's


def main(argv=None):
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.memory", description=(__doc__ or "").partition("\n")[0]
    )
    parser.add_argument("--pictures", type=int, nargs="+", default=[500, 2000, 20000], metavar="N")
    parser.add_argument("--image-size", type=int, default=224, metavar="PIXELS", help="default: %(default)s")
    parser.add_argument("--csv", metavar="FILE", help="also writes the rows")
    parser.add_argument("--plot", metavar="FILE", help="also draws them")
    args = parser.parse_args(argv)
    output.check(args)
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        root = pathlib.Path(folder)
        _write_pictures(root / "photos")
        _link(root / "photos", root / "data" / "train", 4 * DIFFERENT)
        _link(root / "photos", root / "data" / "test", 2)
        run, file = root / "run", root / "model.tflite"
        _run(*_training(root / "data", run, args.image_size))
        _run("tflite.convert", run, "--out", file)
        for count in args.pictures:
            _link(root / "photos", root / "data" / "test", count)
            print(f"evaluating {count} pictures", file=sys.stderr, flush=True)
            seconds, memory = _run("tflite.evaluate", file, run)
            rows.append((count, seconds, memory))
    output.show(args, HEAD, rows)
    output.save(args, _figure, HEAD, rows)


def _training(data, run, size):
    settings = (
        *("model.weights=none", "model.width_multiplier=0.35", f"data.image_size={size}"),
        *(f"data.directory={data}", "epochs=2", "batch_size=8", "steps_per_epoch=1"),
    )
    options = [part for setting in settings for part in ("--set", setting)]
    return "recipes.train", "photos-mobilenetv2-static", *options, "--run-dir", run


def _write_pictures(folder):
    folder.mkdir()
    generator = np.random.default_rng(0)
    for number in range(DIFFERENT):
        rough = PIL.Image.fromarray(generator.integers(0, 256, (12, 16, 3), dtype="uint8"))
        rough.resize(PHOTO, PIL.Image.Resampling.BICUBIC).save(folder / f"{number}.jpg", quality=90)


def _link(photos, folder, count):
    """Has a folder of two classes hold so many pictures."""
    for number in range(count):
        path = folder / CLASSES[number % 2] / f"{number}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        if not path.exists():
            os.link(photos / f"{number % DIFFERENT}.jpg", path)


def _run(module, *arguments):
    """Runs a program: seconds, and the largest resident memory in megabytes."""
    begin = time.perf_counter()
    process = subprocess.Popen(
        [sys.executable, "-m", module, *map(str, arguments)], stdout=subprocess.DEVNULL
    )
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(process.returncode)  # it has said why
    return time.perf_counter() - begin, usage.ru_maxrss / (2**20 if sys.platform == "darwin" else 2**10)


def _figure(rows):
    from recipes.plots import new_figure

    figure, ((axes,),) = new_figure(size=(6.0, 4.0))
    pictures, memory = ([row[key] for row in rows] for key in ("pictures", "peak_memory_mb"))
    axes.plot(pictures, memory, "o-")
    limits = {"xlim": (0, 1.05 * max(pictures)), "ylim": (0, 1.2 * max(memory))}
    axes.set(xlabel="test pictures", ylabel="peak memory / MB", **limits)
    return figure


if __name__ == "__main__":
    sys.exit(exit_code(main))
