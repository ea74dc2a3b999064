"""How much of an attention network's accuracy depends on the image: gives every branch that of another one.

    python results/tinyimagenet/shuffled.py RUN_DIR [RUN_DIR ...]

Three numbers a run, on its test pictures: as it is; with every attention branch seeing another picture of
the batch of 256, a different one in each layer; and with every branch's output replaced by its mean over
the batch, which leaves a static network.
"""

import pathlib
import sys

import keras
import numpy as np

sys.path.insert(0, str(pathlib.Path(__file__).parents[2]))
from recipes.data import load
from recipes.run_directory import RunDirectory
from sb_keras.layers.excitation import ChannelAttention

BATCH = 256
PLAIN = ChannelAttention.attention


def shuffled(generator):
    def attention(self, inputs, training=None):
        shift = int(generator.integers(1, 100))
        return keras.ops.roll(PLAIN(self, inputs, training=training), shift, axis=0)

    return attention


def averaged(self, inputs, training=None):
    values = PLAIN(self, inputs, training=training)
    return values * 0 + keras.ops.mean(values, axis=0, keepdims=True)


def accuracy(run, test, data, attention):
    ChannelAttention.attention = attention
    model, right = run.load_model(), []
    for images, labels in test.evaluation_batches(data, BATCH):
        found = np.argmax(model.predict_on_batch(images), axis=-1)
        right.append(found == np.asarray(labels))
    return 100 * np.concatenate(right).mean()


def main(paths):
    data, test = None, None
    print("run, as it is, shuffled, averaged")
    for path in paths:
        run = RunDirectory.existing(path)
        if data != run.recipe.data:
            data = run.recipe.data
            test = load(data).test
        ways = PLAIN, shuffled(np.random.default_rng(0)), averaged
        print(pathlib.Path(path).name, *(f"{accuracy(run, test, data, way):.2f}" for way in ways), flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
