"""A network and a training small enough to run many times."""

from sb_keras.models import mobilenet_v2
from sb_keras.models.stages import Stage

# Two of the 17 blocks and 4 % of the head: compiling and running the whole network takes a minute.
NETWORK = {
    "CIFAR_STAGES": (
        Stage(expand_ratio=1, filters=16, repeats=1, strides=2),
        Stage(expand_ratio=6, filters=24, repeats=1, strides=2),
    ),
    "HEAD_FILTERS": 48,
}
SETTINGS = ("model.width_multiplier=0.1", "epochs=2", "steps_per_epoch=2", "batch_size=16")


def shrink(set_attribute=setattr):
    """Makes the CIFAR network the tiny one, in this process."""
    for name, value in NETWORK.items():
        set_attribute(mobilenet_v2, name, value)


def arguments(run_dir, *settings, recipe="digits-mobilenetv2-sb", options=()):
    """Those of `python -m recipes.train` for a tiny training."""
    assignments = [part for setting in (*SETTINGS, *settings) for part in ("--set", setting)]
    return [recipe, "--run-dir", str(run_dir), *options, *assignments]
