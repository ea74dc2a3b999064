"""Representative images for quantization, from the training split of a recipe."""

import numpy as np

from recipes.records import Records
from recipes.tasks import task_of

IMAGES = 500


def calibration_images(dataset, recipe, images=IMAGES):
    """Draws images from the training split, preprocessed as for training but not augmented.

    Args:
        dataset: The recipe's data, as its task loads them.
        recipe: The recipe; its seed decides the draw.
        images: How many, at most.

    Returns:
        A float32 array (n, height, width, 3).
    """
    if isinstance(dataset.train, Records):  # TFDS wrote them in a random order
        chosen = slice(images)
    else:
        chosen = np.sort(np.random.default_rng(recipe.seed).permutation(len(dataset.train))[:images])
    batches = task_of(recipe).evaluation_batches(dataset.train.select(chosen), recipe.data, 100)
    return np.concatenate([x.numpy() for x, _ in batches])
