"""What a detector's training step takes, and what matching, losses, detection and metric take of it.

python -m benchmarks.detection [--kinds KIND ...] [--width W] [--rounds N] [--csv FILE]
"""

import functools
import sys
from typing import Any

from benchmarks import output
from benchmarks.alternate import alternate
from recipes.command import exit_code

BATCH_SIZE, CLASSES, OBJECTS = 32, 20, 3  # VOC's pictures have 2.4 objects on average
INPUT_SHAPE = (300, 300, 3)  # of the recipes
HEAD = ("network", "part", "wall_ms", "wall_ms_q1", "wall_ms_q3", "cpu_ms", "images_per_s", "share_of_step")


def main(argv=None):
    parser = output.parser("detection", (__doc__ or "").partition("\n")[0])
    kinds = ("static", "se", "sb")
    output.add_kinds(parser, kinds, ("static", "sb"))
    parser.add_argument("--width", type=float, default=0.35, help="of the backbone (default: %(default)s)")
    args = parser.parse_args(argv)
    output.check(args)
    rows = []
    for kind in args.kinds:
        rows += measure(kind, args.width, args.rounds)
    output.show(args, HEAD, rows)


def measure(kind, width, rounds):
    """Measures the step and its parts in turn, for batches of 32 pictures."""
    factories = {
        "training step": functools.partial(training_step, kind, width),
        "matching": matching,
        "losses and their gradient": losses,
        "detection": detection,
        "metric": metric,
    }
    measured = alternate(factories, rounds)
    step = measured["training step"].wall_ms
    for part, m in measured.items():
        yield (
            *(f"SSDLite x{width:g} {kind}", part, m.wall_ms, m.wall_ms_q1, m.wall_ms_q3, m.cpu_ms),
            *(1000 * BATCH_SIZE / m.wall_ms, m.wall_ms / step),
        )


def training_step(kind, width):
    """A step on images and targets that lie ready."""
    import numpy as np
    import tensorflow as tf

    from recipes import registry
    from recipes.tasks import TASKS

    recipe = registry.find(f"voc-ssdlite-mobilenetv2-{kind}").override([f"model.width_multiplier={width}"])
    task = TASKS["detection"]
    model = task.compiled_model(recipe, CLASSES)
    task.create_state(model, CLASSES)
    model.make_train_function()
    images = np.random.default_rng(0).normal(size=(BATCH_SIZE, *INPUT_SHAPE)).astype("float32")
    batches = iter(tf.data.Dataset.from_tensors((images, targets_of(*objects()))).repeat())
    return lambda: float(model.train_function(batches)["loss"])


def objects():
    """Boxes (32, 3, 4) as corners, and their classes."""
    import numpy as np

    generator = np.random.default_rng(0)
    corners = generator.uniform(0, 0.6, (BATCH_SIZE, OBJECTS, 2))
    sides = generator.uniform(0.1, 0.4, (BATCH_SIZE, OBJECTS, 2))
    boxes_yxyx = np.concatenate([corners, corners + sides], axis=-1).astype("float32")
    return boxes_yxyx, generator.integers(0, CLASSES, (BATCH_SIZE, OBJECTS)).astype("int32")


def targets_of(boxes_yxyx, labels):
    """The targets of the losses, picture by picture as the input pipeline makes them."""
    import tensorflow as tf

    from sb_keras import detection as sb_detection

    anchors = sb_detection.ssdlite_anchors(INPUT_SHAPE)
    specification = {
        "classes": tf.TensorSpec((len(anchors),), tf.int32),
        "boxes": tf.TensorSpec((len(anchors), 5), tf.float32),
    }
    return tf.map_fn(
        lambda row: sb_detection.match(*row, anchors=anchors),
        (boxes_yxyx, labels),
        fn_output_signature=specification,
    )


def matching():
    """Matching of a batch."""
    import tensorflow as tf

    boxes_yxyx, labels = (tf.constant(array) for array in objects())
    match = tf.function(targets_of)
    return lambda: match(boxes_yxyx, labels)["classes"].numpy()


def outputs():
    """Logits and offsets of an untrained network."""
    import numpy as np
    import tensorflow as tf

    from sb_keras import detection as sb_detection

    generator, anchors = np.random.default_rng(0), len(sb_detection.ssdlite_anchors(INPUT_SHAPE))
    sizes = {"classes": CLASSES + 1, "boxes": 4}
    return {
        name: tf.constant(generator.normal(size=(BATCH_SIZE, anchors, columns)).astype("float32"))
        for name, columns in sizes.items()
    }


def losses():
    """Both losses of a batch, and their gradient to the network's outputs."""
    import tensorflow as tf

    from sb_keras import detection as sb_detection

    targets, predicted = targets_of(*objects()), outputs()
    functions = {"classes": sb_detection.ClassLoss(), "boxes": sb_detection.BoxLoss()}

    @tf.function
    def gradients() -> Any:
        with tf.GradientTape() as tape:
            tape.watch(predicted)
            total = tf.add_n(
                [function(targets[name], predicted[name]) for name, function in functions.items()]
            )
        return tape.gradient(total, predicted)

    return lambda: gradients()["classes"].numpy()


def detection():
    """Decoding and suppression of a batch."""
    import tensorflow as tf

    from sb_keras import detection as sb_detection

    predicted, anchors = outputs(), sb_detection.ssdlite_anchors(INPUT_SHAPE)
    suppress = tf.function(lambda: sb_detection.detect(predicted, anchors))
    return lambda: suppress()["count"].numpy()


def metric():
    """Average precision of all classes, over a batch of pictures with a hundred detections each."""
    import numpy as np

    from recipes.data.objects import objects_of
    from recipes.tasks.detection import average_precisions

    boxes_yxyx, labels = objects()
    split = objects_of(
        [str(number) for number in range(BATCH_SIZE)],
        [b""] * BATCH_SIZE,
        boxes_yxyx,
        labels,
        np.zeros_like(labels, bool),
        CLASSES,
    )
    generator = np.random.default_rng(1)
    corners = generator.uniform(0, 0.5, (BATCH_SIZE, 100, 2)).astype("float32")
    found = [
        {
            "boxes_yxyx": np.concatenate([corner, corner + 0.3], axis=-1),
            "classes": generator.integers(0, CLASSES, 100).astype("int32"),
            "scores": np.sort(generator.uniform(size=100))[::-1].astype("float32"),
        }
        for corner in corners
    ]
    return lambda: average_precisions(split, found, CLASSES)


if __name__ == "__main__":
    sys.exit(exit_code(main))
