"""Does attention pay on a trained network? Trains every variant of results/README.md's tables in turn.

    python results/transfer/grid.py RESULTS PICTURES WEIGHTS [--epochs 8] [--rates-of OTHER_RESULTS]

For every variant one run a learning rate with seed 0; then, at the rate whose last validation loss is the
lowest, the other seeds. With `--rates-of` the rate is the one that was found there. What RESULTS holds is not
run again, and an interrupted run goes on. Nothing is chosen by test pictures.
"""

import argparse
import json
import pathlib
import shutil
import subprocess
import sys

import numpy as np

TRAINED = ("3e-5", "1e-4", "3e-4")
RANDOM = ("3e-4", "1e-3", "3e-3")
FROZEN = ("3e-5", "1e-4", "3e-4", "1e-3")
# What was attached at ten or a hundred times the rate of what was trained already.
FAST = {
    **dict.fromkeys(("sb-0-fast", "sb-pointwise-0-fast", "dyconv-fast"), 10),
    **dict.fromkeys(("sb-0-frozen-norms", "sb-0-frozen", "sb-0-frozen-small", "sb-0-frozen-scales"), 10),
    "sb-0-averages": 10,
    "sb-0-faster": 100,
}
POINTWISE = "model.attention.positions=expand,project"
# What learns beside the classifier has its rate, as attention has.
NORMS_FAST = "optimizer.learning_rate={tenfold}"
# Trained by normalizations.py, which lets these learn while the averages stay.
CONTROLS = {
    "static-frozen-offsets": "offsets",
    "static-frozen-scales": "scales-and-offsets",
    "sb-0-frozen-scales": "scales-and-offsets",
    "static-averages": "scales-and-offsets",
    "sb-0-averages": "scales-and-offsets",
}
# In the order in which they decide most.
VARIANTS = {
    "static": (TRAINED, ["model.attention.kind=static"]),
    "sb-0": (TRAINED, []),
    "sb-pointwise-0": (TRAINED, [POINTWISE]),
    "dyconv": (TRAINED, ["model.attention.kind=dyconv"]),
    "sb-0.1": (TRAINED, ["model.attention.lambda_init=0.1"]),
    "se": (TRAINED, ["model.attention.kind=se"]),
    "sb-0-fast": (TRAINED, []),
    "sb-0-faster": (TRAINED, []),
    "sb-pointwise-0-fast": (TRAINED, [POINTWISE]),
    "dyconv-fast": (TRAINED, ["model.attention.kind=dyconv"]),
    "static-frozen-norms": (TRAINED, ["model.attention.kind=static", "model.freeze=batch_norm"]),
    "sb-0-frozen-norms": (TRAINED, ["model.freeze=batch_norm"]),
    "static-frozen": (FROZEN, ["model.attention.kind=static", "model.freeze=backbone"]),
    "sb-0-frozen": (FROZEN, ["model.freeze=backbone"]),
    "sb-0-frozen-small": (FROZEN, ["model.freeze=backbone", "model.attention.hidden_multiplier=0.0625"]),
    "static-frozen-offsets": (FROZEN, ["model.attention.kind=static", "model.freeze=backbone", NORMS_FAST]),
    "static-frozen-scales": (FROZEN, ["model.attention.kind=static", "model.freeze=backbone", NORMS_FAST]),
    "sb-0-frozen-scales": (FROZEN, ["model.freeze=backbone", NORMS_FAST]),
    "static-averages": (TRAINED, ["model.attention.kind=static"]),
    "sb-0-averages": (TRAINED, []),
    "random-static": (RANDOM, ["model.attention.kind=static"]),
    "random-sb": (RANDOM, ["model.attention.lambda_init=0.1"]),
}
KEPT = ("log.csv", "recipe.json", "result.json")


def train(arguments, variant, rate, seed):
    """One run, unless its result is there; only its small files are kept."""
    kept = arguments.results / f"{variant}-{rate}-{seed}"
    if (kept / "result.json").exists():
        return kept
    run = arguments.runs / kept.name
    weights = "none" if variant.startswith("random") else arguments.weights
    tenfold = f"{10 * float(rate):g}"
    own = [setting.format(tenfold=tenfold) for setting in VARIANTS[variant][1]]
    is_frozen = "model.freeze=backbone" in own  # nothing has the common rate
    settings = [
        f"data.directory={arguments.pictures}",
        "data.image_size=96",
        f"epochs={arguments.epochs}",
        "early_stopping_epochs=none",
        f"seed={seed}",
        f"model.weights={weights}",
        "model.freeze=none",
        *([] if is_frozen else [f"optimizer.learning_rate={rate}"]),
        f"optimizer.head_learning_rate={tenfold}",
        *own,
    ]
    fast = f"{FAST[variant] * float(rate):g}" if variant in FAST else "none"
    settings.append(f"optimizer.attention_learning_rate={fast}")
    options = [option for setting in settings for option in ("--set", setting)]
    program = ["-m", "recipes.train"]
    if variant in CONTROLS:
        program = [pathlib.Path(__file__).with_name("normalizations.py"), CONTROLS[variant]]
    command = [sys.executable, *program, "photos-mobilenetv2-sb", *options, "--run-dir", run]
    subprocess.run(command, check=True)
    kept.mkdir(parents=True, exist_ok=True)
    for name in KEPT:
        shutil.copy(run / name, kept)
    # Where the pictures and the weights lie is of this machine alone.
    recipe = kept / "recipe.json"
    text = recipe.read_text()
    for path in (arguments.pictures, arguments.weights):
        text = text.replace(json.dumps(str(path)), json.dumps(path.name))
    recipe.write_text(text)
    shutil.rmtree(run)
    return kept


def last_validation_loss(run):
    log = np.genfromtxt(run / "log.csv", delimiter=",", names=True)
    return float(log["val_loss"][-1])


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("results", type=pathlib.Path)
    parser.add_argument("pictures", type=pathlib.Path)
    parser.add_argument("weights", type=pathlib.Path)
    parser.add_argument("--epochs", type=int, default=8)
    parser.add_argument("--runs", type=pathlib.Path, default=pathlib.Path("runs/transfer"))
    parser.add_argument("--rates-of", type=pathlib.Path)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--variants", nargs="+", choices=VARIANTS, default=VARIANTS)
    arguments = parser.parse_args()
    for variant in arguments.variants:
        rates, _ = VARIANTS[variant]
        if arguments.rates_of:
            runs = {rate: arguments.rates_of / f"{variant}-{rate}-0" for rate in rates}
        else:
            runs = {rate: train(arguments, variant, rate, 0) for rate in rates}
        best = min(rates, key=lambda rate: last_validation_loss(runs[rate]))
        for seed in range(arguments.seeds):
            train(arguments, variant, best, seed)


if __name__ == "__main__":
    main()
