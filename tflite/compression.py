"""Fine-tuning of a trained network that is pruned, clustered, or made ready for 8-bit integers.

tensorflow-model-optimization (TFMOT) does the three, on tf_keras models. The network is therefore folded,
rebuilt in tf_keras and fine-tuned there with Adam at a low rate. What it has to learn is to answer as it
did before: the float network's outputs are the targets, so that no labels are needed (Hinton et al.,
Distilling the Knowledge in a Neural Network, arXiv:1503.02531).
"""

import math

import tensorflow as tf

import sb_keras
from recipes.compression import Compression
from recipes.errors import UserError
from sb_keras.graph import as_functional, inner_layers, operation_of, tensor_names
from sb_keras.layers import DynamicConv
from sb_keras.tf_keras_bridge import to_tf_keras
from tflite.tfmot import tf_keras, tfmot

DEFAULTS = Compression()
BATCH_SIZE = 32  # of images that come without batches
# DepthwiseConv2D is left out, as TFMOT itself does: few weights, each of which matters.
_PRUNED = (tf_keras.layers.Conv2D, tf_keras.layers.Dense)


def prune(model, batches, compression=DEFAULTS, progress=None):
    """Sets the smallest weights of every convolution and dense layer to zero, while the others adapt.

    The share of zeros grows from 0 to `compression.sparsity` over the first half of the steps (Zhu and
    Gupta, arXiv:1710.01878). Depthwise kernels, and thus λ, are left whole.

    Args:
        model: A functional Keras model, as trained.
        batches: A float32 array of images (n, height, width, channels), preprocessed as for training, or
            a `tf.data.Dataset` of batches of them, whose labels, if it has any, are ignored. One pass is an
            epoch.
        compression: A `recipes.compression.Compression`.
        progress: Called after every step with the number of steps done and of all steps.

    Returns:
        The folded model, `sb_keras.fold(model)`, with pruned weights.

    Raises:
        UserError: If the model has layers that TFMOT cannot work on; the message names one.

    Example:

    ```python
    model = sb_keras.CifarMobileNetV2(width_multiplier=0.35, attention="sb")
    content = tflite.convert.convert(prune(model, images), "int8", images)
    ```
    """
    folded = _folded(model)
    teacher = _rebuilt(folded)
    batches, steps = _prepared(batches, compression)
    frequency = max(1, steps // 100)
    schedule = tfmot.sparsity.keras.PolynomialDecay(
        initial_sparsity=0.0,
        final_sparsity=compression.sparsity,
        begin_step=0,
        end_step=max(1, steps // 2 // frequency) * frequency,  # not between two turns
        frequency=frequency,
    )

    def pruned(layer):
        return tfmot.sparsity.keras.prune_low_magnitude(layer, pruning_schedule=schedule)

    wrapped = _wrapped(folded, pruned)
    callbacks = [tfmot.sparsity.keras.UpdatePruningStep()]
    _fit(wrapped, teacher, batches, steps, compression.learning_rate, progress, callbacks)
    return _with_weights(folded, tfmot.sparsity.keras.strip_pruning(wrapped))


def cluster(model, batches, compression=DEFAULTS, progress=None):
    """Leaves every convolution and dense layer `compression.clusters` different weights, which adapt.

    Layers with no more weights than that stay as they are, and so do depthwise kernels. Arguments, result
    and errors are those of `prune`.
    """
    folded = _folded(model)
    teacher = _rebuilt(folded)
    batches, steps = _prepared(batches, compression)

    def clustered(layer):
        if math.prod(layer.kernel.shape) <= compression.clusters:
            return layer
        return tfmot.clustering.keras.cluster_weights(
            layer,
            number_of_clusters=compression.clusters,
            cluster_centroids_init=tfmot.clustering.keras.CentroidInitialization.KMEANS_PLUS_PLUS,
        )

    wrapped = _wrapped(folded, clustered)
    _fit(wrapped, teacher, batches, steps, compression.learning_rate, progress)
    return _with_weights(folded, tfmot.clustering.keras.strip_clustering(wrapped))


def quantization_aware(
    model, batches, compression=DEFAULTS, progress=None, input_range=None, output_names=None
):
    """Fine-tunes a network while it is rounded to 8-bit integers, and converts it.

    Kernels have a scale a channel, activations a scale and a zero point a tensor, input and output too.

    Args:
        model: As for `prune`, with one input of known size.
        batches: As for `prune`; the ranges of the activations are first taken from some of them.
        compression: As for `prune`.
        progress: As for `prune`.
        input_range: Lowest and highest value of an image, if known; otherwise that of some batches.
        output_names: Names of the outputs in the file's signature, `serving_default`; by default those
            of the model's.

    Returns:
        The bytes of the .tflite file.

    Raises:
        UserError: As `prune`.
    """
    from tflite.fake_quantization import emulate_integers, to_integers

    folded = _folded(model)
    teacher = _rebuilt(folded)
    batches, steps = _prepared(batches, compression)
    emulating = emulate_integers(folded, batches, input_range)
    _fit(emulating, teacher, batches, steps, compression.learning_rate, progress)
    functional = as_functional(model)
    (input_name,) = tensor_names(functional.input)
    return to_integers(emulating, input_name, output_names or tensor_names(functional.output))


METHODS = {"prune": prune, "cluster": cluster}


def _prepared(batches, compression):
    """Batches of images without labels for all epochs, and their number."""
    if hasattr(batches, "shape"):
        images = tf.data.Dataset.from_tensor_slices(tf.cast(batches, tf.float32))
        batches = images.shuffle(len(batches) or 1, seed=0).batch(BATCH_SIZE)
    batches = batches.map(lambda images, *labels: images)
    if compression.steps_per_epoch is not None:
        batches = batches.take(compression.steps_per_epoch)
    steps = int(batches.reduce(0, lambda count, _: count + 1))
    if not steps:
        raise UserError("fine-tuning needs images. Received none")
    return batches.repeat(compression.epochs), steps * compression.epochs


def _folded(model):
    folded = sb_keras.fold(model)
    for layer in inner_layers(folded):
        layer.trainable = True  # what was frozen in training has to adapt as well
        if isinstance(layer, DynamicConv):
            raise UserError(
                f"layer '{layer.name}' is a dynamic convolution: it computes its kernel for every image, and "
                "has no fixed one to prune, cluster or round in training"
            )
    return folded


def _rebuilt(model):
    try:
        return to_tf_keras(model)
    except ValueError as error:
        raise UserError(str(error)) from error


def _wrapped(folded, wrap):
    """The network in tf_keras, rebuilt and with the layers of kind `_PRUNED` wrapped."""
    return tf_keras.models.clone_model(
        _rebuilt(folded), clone_function=lambda layer: wrap(layer) if isinstance(layer, _PRUNED) else layer
    )


def _fit(student, teacher, batches, steps, learning_rate, progress=None, callbacks=()):
    """Trains `student` to answer as `teacher` does."""
    decay = tf_keras.optimizers.schedules.CosineDecay(learning_rate, steps)
    losses = tf.nest.map_structure(_loss, teacher.output)  # one, a list or a dictionary
    # One operation a variable, where Keras 2's later Adam has fifteen: tracing takes half the time.
    optimizer = tf_keras.optimizers.legacy.Adam(decay)
    student.compile(optimizer=optimizer, loss=losses)
    # A step that creates variables is traced twice.
    optimizer.apply_gradients((tf.zeros_like(weight), weight) for weight in student.trainable_variables)
    optimizer.iterations.assign(0)

    def with_targets(images):
        targets = teacher(images, training=False)
        return images, tuple(targets) if isinstance(targets, list) else targets  # a list would be stacked

    if progress is not None:
        report = tf_keras.callbacks.LambdaCallback(
            on_train_batch_end=lambda step, logs: progress(step + 1, steps)
        )
        callbacks = [*callbacks, report]
    history = student.fit(batches.map(with_targets).prefetch(2), callbacks=list(callbacks), verbose=0).history
    if not math.isfinite(history["loss"][-1]):
        raise UserError("fine-tuning diverged; try a smaller compression.learning_rate")


def _loss(output):
    """Cross-entropy where the output is a probability, otherwise the mean squared error."""
    layer = operation_of(output)
    activation = getattr(layer, "activation", None)
    if isinstance(layer, tf_keras.layers.Softmax) or activation is tf_keras.activations.softmax:
        return tf_keras.losses.CategoricalCrossentropy()
    if activation is tf_keras.activations.sigmoid:
        return tf_keras.losses.BinaryCrossentropy()
    return tf_keras.losses.MeanSquaredError()


def _with_weights(folded, tf_keras_model):
    """Gives a folded model the weights of the same network in tf_keras."""
    layers = {layer.name: layer for layer in inner_layers(folded)}
    for layer in tf_keras_model.layers:
        layers[layer.name].set_weights(layer.get_weights())
    return folded
