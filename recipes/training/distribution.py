"""Several devices of a machine, and several machines: by `tf.distribute`, on JAX by `keras.distribution`.

Keras 3's `fit` supports neither `MultiWorkerMirroredStrategy` nor, under any strategy, several steps an
execution:

- Before the first step `fit` averages the first batch over the workers, to build the model from its shapes.
  Our models, optimizers and metrics are built already (`create_state`): there is nothing to do.
- After each step `fit` averages the metrics along an axis that scalars do not have.
- Its loop over several steps ends in a placeholder that nobody feeds, with a single `Dense` as well.

`prepare` puts a step of our own in the place of Keras's.

`fit` would also have every worker read and decode whole batches, to throw the others' pictures away.
`training_batches` has each read its own.
"""

import contextlib
import dataclasses
import json
import os
import signal
import sys
import threading

import keras

from recipes.errors import UserError
from recipes.keras_file import variables_of_one_name
from recipes.tasks import task_of
from sb_keras.graph import inner_layers, skip_symbolic_build


class WorkerLost(Exception):
    """Another worker has gone; this one cannot go on alone."""


def strategy_of(name, batch_size):
    """The strategy of that name, or on JAX the `keras.distribution`; None for `"one-device"`.

    Several workers wait here until all are there.

    Raises:
        UserError: If it cannot be had here, or the workers cannot share a batch.
    """
    if name == "one-device":
        return None
    backend = keras.backend.backend()
    if backend == "jax" and name == "mirrored":
        return keras.distribution.DataParallel()
    if backend != "tensorflow":
        raise UserError(f"--strategy {name} needs Keras's TensorFlow backend. Received: {backend}")
    import tensorflow as tf

    if name == "mirrored":
        return tf.distribute.MirroredStrategy()
    if name == "multi-worker":
        workers, index = _workers()
        if batch_size % len(workers):
            raise UserError(
                f"batch_size must be a multiple of the {len(workers)} workers. Received: {batch_size}"
            )
        if others := [address for number, address in enumerate(workers) if number != index]:
            print(f"waiting for {', '.join(others)}", file=sys.stderr, flush=True)
        with _ended_by_ctrl_c():
            return tf.distribute.MultiWorkerMirroredStrategy()
    try:
        resolver = tf.distribute.cluster_resolver.TPUClusterResolver.connect(tpu="")
    except (ValueError, KeyError, OSError, tf.errors.OpError) as error:
        raise UserError(f"no TPU was found ({str(error).splitlines()[0]})") from error
    return tf.distribute.TPUStrategy(resolver)


@contextlib.contextmanager
def scope_of(strategy):
    """The context in which models are to be made."""
    with strategy.scope() if strategy else contextlib.nullcontext(), variables_of_one_name():
        yield


def fit_scope_of(strategy):
    """The context in which they are to be trained; a strategy of TensorFlow's belongs to the model."""
    return strategy.scope() if is_data_parallel(strategy) else contextlib.nullcontext()


@contextlib.contextmanager
def one_device():
    """A context in which batches go to one device, also within that of a `keras.distribution`.

    The devices would have to share every batch, and the last one of an evaluation is of any size.
    """
    distribution = keras.distribution.distribution()
    keras.distribution.set_distribution(None)
    try:
        yield
    finally:
        keras.distribution.set_distribution(distribution)


def is_data_parallel(strategy):
    """Whether it is JAX's."""
    return isinstance(strategy, keras.distribution.DataParallel)


def is_multi_worker(strategy):
    if strategy is None or is_data_parallel(strategy):
        return False
    import tensorflow as tf

    return isinstance(strategy, tf.distribute.MultiWorkerMirroredStrategy)


def is_chief(strategy):
    """Whether this process is the one that writes: the only one, or the first worker."""
    if not is_multi_worker(strategy):
        return True
    resolver = strategy.cluster_resolver
    return resolver.task_type in (None, "chief") or (
        resolver.task_type == "worker"
        and resolver.task_id == 0
        and "chief" not in resolver.cluster_spec().jobs
    )


def synchronize_norms(model):
    """Has every batch normalization use the statistics of the whole batch, over all devices.

    On JAX they do so anyway: a step is one program over a batch, whose parts lie on several devices.
    """
    if keras.backend.backend() == "jax":
        return
    for layer in inner_layers(model):
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.synchronized = True


def keras_suffices(strategy, recipe):
    """Whether Keras's own steps work; see above."""
    if strategy is None or is_data_parallel(strategy):
        return True
    return not (is_multi_worker(strategy) or recipe.steps_per_execution > 1)


def local_copy(model, strategy, recipe, classes):
    """The model for an evaluation: under a step of our own a copy of it for this process alone."""
    if keras_suffices(strategy, recipe):
        return model
    begun_anew = dataclasses.replace(recipe.model, weights=None, backbone=None)
    copy = task_of(recipe).compiled_model(dataclasses.replace(recipe, model=begun_anew), classes)
    for ours, theirs in zip(copy.weights, model.weights, strict=True):
        ours.assign(theirs.numpy())
    return copy


def prepare(model, strategy, recipe):
    """Makes `model.fit` work under the strategy."""
    if keras_suffices(strategy, recipe):
        return
    import tensorflow as tf

    @tf.function
    def steps(iterator):
        for _ in tf.range(recipe.steps_per_execution - 1):
            strategy.run(model.train_step, args=(next(iterator),))
        logs = strategy.run(model.train_step, args=(next(iterator),))
        return {key: strategy.reduce("MEAN", value, axis=None) for key, value in logs.items()}

    skip_symbolic_build(model)
    model.train_function = steps


def check_batches(strategy, recipe, count):
    """Raises a `UserError` unless the devices of several workers, or on JAX, can share every batch.

    Args:
        strategy: The strategy.
        recipe: The recipe.
        count: Number of training pictures.
    """
    if is_data_parallel(strategy):
        devices = step = strategy.num_model_replicas
    elif is_multi_worker(strategy):
        devices, step = strategy.num_replicas_in_sync, 1
    else:
        return
    size, steps = recipe.batch_size, recipe.steps(count)
    if size % devices:
        raise UserError(f"batch_size must be a multiple of the {devices} devices. Received: {size}")
    last = min(size, count - (steps - 1) * size)
    if last < devices or last % step:
        what = "a multiple of" if step > 1 else "at least"
        raise UserError(
            f"the number of pictures in the last batch of an epoch must be {what} that of the devices, "
            f"{devices}. Received: {last}; --set steps_per_epoch={steps - 1} leaves them out, in every epoch "
            "others"
        )


def training_batches(split, recipe, begin, strategy, class_weight):
    """The batches for `fit`, and the class weights that it is to apply.

    Args:
        split: The training pictures.
        recipe: The recipe.
        begin: A `Position`: how far the training has come.
        strategy: The strategy.
        class_weight: A weight for each class, by its number; None for all the same.
    """
    if not is_multi_worker(strategy):
        return split.training_batches(recipe, begin.epoch, begin.step), class_weight
    import tensorflow as tf

    from recipes.data.tf_batches import Share

    def of_worker(context):
        share = Share(context.input_pipeline_id, context.num_input_pipelines)
        batches = split.training_batches(recipe, begin.epoch, begin.step, share=share)
        if class_weight is not None:
            weights = tf.constant([class_weight[label] for label in range(len(class_weight))])
            batches = batches.map(lambda images, labels: (images, labels, tf.gather(weights, labels)))
        devices = context.num_replicas_in_sync // context.num_input_pipelines
        if devices == 1:
            return batches
        # Each of the worker's devices takes the next element.
        parts = tf.data.Dataset.range(devices)
        return batches.flat_map(lambda *batch: parts.map(lambda device: Share(device, devices).of(batch)))

    return strategy.distribute_datasets_from_function(of_worker), None


@contextlib.contextmanager
def lost_workers_reported(strategy):
    """Turns the many errors that follow the end of another worker into a `WorkerLost`."""
    if not is_multi_worker(strategy):
        yield
        return
    from tensorflow import errors

    try:
        yield
    except (
        errors.AbortedError,
        errors.CancelledError,
        errors.DeadlineExceededError,
        errors.FailedPreconditionError,
        errors.InternalError,
        errors.UnavailableError,
    ) as error:
        raise WorkerLost(
            f"another worker is gone or cannot be reached ({type(error).__name__}). "
            "Start all workers again: they go on from the last checkpoint"
        ) from error


@contextlib.contextmanager
def _ended_by_ctrl_c():
    """Has Ctrl-C end the process at once: while TensorFlow waits, no handler of Python's is called.

    SIGTERM TensorFlow takes for itself then, and does nothing.
    """
    if threading.current_thread() is not threading.main_thread():  # others may not
        yield
        return
    before = signal.signal(signal.SIGINT, signal.SIG_DFL)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def _workers():
    """The workers' addresses by TF_CONFIG, and the index of this process's.

    Raises:
        UserError: Unless it says who works and which of them this process is.
    """
    text = os.environ.get("TF_CONFIG", "")
    expected = (
        'TF_CONFIG must be {"cluster": {"worker": ["host:port", …]}, "task": {"type": "worker", "index": 0}}'
    )
    try:
        config = json.loads(text)
        workers, task = config["cluster"]["worker"], config["task"]
        known = bool(workers) and all(isinstance(address, str) and ":" in address for address in workers)
        known = known and task["type"] == "worker" and 0 <= task["index"] < len(workers)
    except (ValueError, KeyError, TypeError):
        known = False
    if not known:
        raise UserError(f"{expected}. Received: {text or 'nothing'}")
    return workers, task["index"]
