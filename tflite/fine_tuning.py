"""A trained network fine-tuned by its recipe while it is pruned, clustered or rounded, as a .tflite file."""

import dataclasses

from recipes.command import progress
from tflite.compression import METHODS
from tflite.export import CALIBRATED, build, pixel_input, sampled_pixels


def fine_tuned(method, model, dataset, recipe, quantize, metadata=None):
    """Compresses a network by the recipe's `compression`.

    Args:
        method: `"qat"`, quantization-aware training, or one of `tflite.compression.METHODS`.
        model: The Keras model as trained.
        dataset: The recipe's `recipes.data.Dataset`.
        recipe: The recipe.
        quantize: `"float32"`, `"float16"`, `"dynamic"` or `"int8"`, unless the method is `"qat"`.
        metadata: The file's `tflite.metadata.Metadata`; None for none.

    Returns:
        The bytes of a .tflite file that takes pixels.

    Raises:
        UserError: If the network cannot be compressed so.
    """
    compression, takes = recipe.compression, pixel_input(recipe.data)
    epoch = dataclasses.replace(  # the learning rate is the compression's
        recipe,
        epochs=1,
        steps_per_epoch=compression.steps_per_epoch,
        steps_per_execution=1,
        optimizer=dataclasses.replace(recipe.optimizer, warmup_epochs=0, schedule_epochs=None),
    )
    steps = compression.epochs * epoch.steps(len(dataset.train))
    print(
        f"fine-tuning, {steps} steps: the first takes a minute or more, as TensorFlow traces it", flush=True
    )
    with progress(None, steps, "step") as bar:
        settings = {"compression": compression, "progress": lambda *_: bar.update()}
        if method == "qat":
            pixels = dataset.train.training_batches(epoch, pixels=True)
            return build(model, "qat-int8", pixels, metadata=metadata, fine_tuning=settings, **takes)
        network = METHODS[method](model, dataset.train.training_batches(epoch), **settings)
    print(f"converting to {quantize}", flush=True)
    images = sampled_pixels(dataset, recipe) if quantize in CALIBRATED else None
    return build(network, quantize, images, metadata=metadata, **takes)
