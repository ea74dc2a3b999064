"""The training of a recipe from its beginning, or from its latest checkpoint, to its end."""

import contextlib
import importlib.metadata
import platform
import sys
from typing import Any

import keras
import numpy as np

import sb_keras
from recipes.command import interruptible, terminating
from recipes.data import fingerprint, load
from recipes.data.catalog import CATALOG
from recipes.errors import UserError
from recipes.files import full_disk_reported
from recipes.keras_file import is_whole, load_model
from recipes.plots import plot_curves
from recipes.tasks import task_of
from recipes.training import CHECKPOINT_MINUTES, event_files
from recipes.training.distribution import (
    check_batches,
    fit_scope_of,
    is_chief,
    is_multi_worker,
    local_copy,
    lost_workers_reported,
    one_device,
    prepare,
    scope_of,
    synchronize_norms,
    training_batches,
)
from recipes.training.monitoring import (
    DropoutSeeds,
    EarlyStopping,
    LazyCallbackList,
    Recorder,
    StopOnDivergence,
    Validation,
    WarmUp,
    epochs_without_progress,
)
from recipes.training.pace import Pace
from recipes.training.within_epoch import Position, Snapshot, Snapshots


def train(
    run, strategy=None, recipe=None, checkpoint_minutes=CHECKPOINT_MINUTES, traced=lambda model: model
) -> Any:
    """Trains the run's recipe to its end, from its latest checkpoint if there is one.

    Args:
        run: A `RunDirectory`.
        strategy: A `tf.distribute.Strategy`; None for one device.
        recipe: The recipe to claim the directory for, once the data are loaded. By default the one that
            the directory was claimed for.
        checkpoint_minutes: How often there is a checkpoint within an epoch; with several workers never.
        traced: Gives for a model that is ready for `fit` the one to train, as `search.traced.Traced` does.

    Returns:
        The result, which is also in result.json; None in a worker that is not the chief and writes nothing.

    Raises:
        UserError: If the data or the backbone cannot be loaded or do not suit the recipe, or the
            directory is not that of this recipe, or another process trains into it. Nothing is written then.
        CannotWrite: If the disk is full, for example. The same call goes on after the last checkpoint.
        Diverged: If the loss becomes infinite or NaN.
        Terminated: If SIGTERM comes. The same call goes on behind the last step.
        KeyboardInterrupt: If Ctrl-C comes, likewise; a second one does not wait for the step's end.
        WorkerLost: If another worker is gone.
    """
    recipe, chief = recipe or run.recipe, is_chief(strategy)
    _check_supported(recipe, strategy)
    run.check(recipe)
    with contextlib.ExitStack() as stack:
        new = not run.path.is_dir()
        if chief and not new:
            stack.enter_context(run.locked())
        dataset = load(recipe.data)
        steps = recipe.steps(len(dataset.train))
        check_batches(strategy, recipe, len(dataset.train))
        keras.utils.set_random_seed(recipe.seed)
        keras.config.set_dtype_policy(recipe.precision)
        model, begin, snapshot = _model(run, strategy, recipe, dataset, traced)
        if chief:
            run.claim(recipe)
            if begin == Position():  # of a training that was ended before, nothing is left
                run.keep_classes(dataset.classes)
                fingerprint.keep(dataset, recipe.data.directory, run.pictures_file)
            print(task_of(recipe).describe(dataset), flush=True)
            if recipe.model.freeze:
                print(_learning(model), flush=True)
            if new:
                stack.enter_context(run.locked())
                run.check_untrained()

        def evaluate(model, split=dataset.validation):
            with one_device():
                evaluated = local_copy(model, strategy, recipe, len(dataset.classes))
                return task_of(recipe).evaluate(evaluated, split, recipe)

        if begin.epoch < recipe.epochs and not _has_stopped(run, recipe, begin.epoch):
            # A worker alone cannot read what all of them have summed up.
            writes = not is_multi_worker(strategy)
            snapshots = Snapshots(run.snapshot_file, recipe, steps, checkpoint_minutes, snapshot, writes)
            with (
                fit_scope_of(strategy),
                interruptible(snapshots.interrupt) as repeat_interrupt,
                terminating(snapshots.terminate),
                lost_workers_reported(strategy),
                dataset.train.errors_named(),
                dataset.validation.errors_named(),
                full_disk_reported(run.tensorboard),
            ):
                batches, class_weight = training_batches(
                    dataset.train, recipe, begin, strategy, class_weights(recipe, dataset)
                )
                model.fit(
                    batches,
                    steps_per_epoch=steps,
                    initial_epoch=begin.epoch,
                    epochs=recipe.epochs,
                    callbacks=LazyCallbackList(
                        _callbacks(run, recipe, begin, steps, evaluate, snapshots, chief),
                        repeat_interrupt,
                        add_history=True,
                        add_progbar=chief,
                        model=model,
                        epochs=recipe.epochs,
                        steps=steps,
                        verbose=_verbosity(),
                    ),
                    class_weight=class_weight,
                    shuffle=False,  # the batches are in a random order already
                )
        if not chief:
            return None
        if recipe.early_stopping_epochs:
            model = run.load_model("best")
        else:
            # The average's, if there is one.
            model.optimizer.finalize_variable_values(model.trainable_variables)
        run.save_model(model, run.final_file)
        result = _result(run, recipe, model, dataset.classes, evaluate(model, dataset.test))
        run.write_result(result)
        return result


def _learning(model):
    """Says how much of a model learns; the averages of normalizations are counted on neither side."""
    count = sum(int(np.prod(variable.shape)) for variable in model.trainable_variables)
    return f"{count:,} of {sb_keras.profile(model).total.parameters:,} parameters learn"


def _check_supported(recipe, strategy):
    if recipe.early_stopping_epochs and is_multi_worker(strategy):
        raise UserError(
            "early_stopping_epochs must be none with --strategy multi-worker, where one worker evaluates. "
            f"Received: {recipe.early_stopping_epochs}"
        )
    backend, entry = keras.backend.backend(), CATALOG[recipe.data.name]
    if recipe.class_weights and not entry.needs_tensorflow and backend != "tensorflow":
        raise UserError(
            f"class_weights of {recipe.data.name} needs Keras's TensorFlow backend. Received: {backend}"
        )


def _model(run, strategy, recipe, dataset, traced):
    """The model of the latest checkpoint, or a new one, ready for `fit`; how far it has come; a `Snapshot`.

    The snapshot, None where there is none that has come further than the model, is to be restored by `fit`.
    """
    task, classes = task_of(recipe), len(dataset.classes)
    checkpoint, epochs_done = run.latest_checkpoint()
    snapshot = latest_snapshot(run.snapshot_file, epochs_done)
    begin = snapshot.position if snapshot else Position(epochs_done)
    run.rows_until(begin.epoch)  # raises an error if some are missing
    if checkpoint or snapshot:
        step = f", step {begin.step} of {recipe.steps(len(dataset.train))}" if snapshot else ""
        print(f"going on with {run.path} after epoch {begin.epoch} of {recipe.epochs}{step}")
    with scope_of(strategy):
        model = load_model(checkpoint) if checkpoint else task.compiled_model(recipe, classes)
        if checkpoint or snapshot:
            task.check_data(dataset, model, run)
        if recipe.synchronized_batch_norm:  # a file does not hold it for the layers within attention layers
            synchronize_norms(model)
        task.create_state(model, classes)
        model = traced(model)
    prepare(model, strategy, recipe)
    return model, begin, snapshot


def latest_snapshot(path, epochs_done):
    """What was written within an epoch, if it has come further than so many epochs; else None."""
    if not path.is_file():
        return None
    if not is_whole(path):
        print(f"warning: {path} is damaged; going on from the epoch before", file=sys.stderr)
        return None
    snapshot = Snapshot.read(path)
    return snapshot if snapshot.position.epoch >= epochs_done else None


def _result(run, recipe, model, classes, test):
    """What result.json holds; draws the curves."""
    metric, rows = task_of(recipe).metric, run.log
    title = f"{recipe.name}: test {metric.replace('_', ' ')} {100 * test[metric]:.2f} %"
    plot_curves(rows, metric, title, run.curves_file)
    best = max(rows, key=lambda row: row[f"val_{metric}"])
    final = best if recipe.early_stopping_epochs else rows[-1]
    backend = keras.backend.backend()
    return {
        "recipe": recipe.name,
        **{f"test_{key}": test[key] for key in sorted(test, key=lambda key: key != metric)},
        f"validation_{metric}": final[f"val_{metric}"],
        f"best_validation_{metric}": best[f"val_{metric}"],
        "best_epoch": best["epoch"],
        "classes": list(classes),
        "parameters": sb_keras.profile(model).total.parameters,
        "epochs": len(rows),
        "seconds": round(sum(row["seconds"] for row in rows), 1),
        "versions": {
            "python": platform.python_version(),
            backend: importlib.metadata.version(backend),
            "keras": keras.__version__,
            "sb_keras": sb_keras.__version__,
        },
    }


def _verbosity():
    return "auto" if sys.stdout.isatty() else 2


def _has_stopped(run, recipe, epochs_done):
    """Whether the training was ended before its last epoch, and only its result is missing."""
    patience, metric = recipe.early_stopping_epochs, f"val_{task_of(recipe).metric}"
    return bool(patience) and epochs_without_progress(run.rows_until(epochs_done), metric) >= patience


def class_weights(recipe, dataset):
    """What a picture of each class weighs, so that every class weighs the same; None for all the same."""
    if recipe.class_weights is None:
        return None
    counts = np.bincount(dataset.train.labels, minlength=len(dataset.classes))
    return dict(enumerate((len(dataset.train) / (len(counts) * counts)).tolist()))


def _callbacks(run, recipe, begin, steps, evaluate, snapshots, chief):
    def learning_rate(epoch, _):
        return recipe.optimizer.learning_rate_at(epoch, recipe.epochs)

    callbacks = [keras.callbacks.LearningRateScheduler(learning_rate), DropoutSeeds(recipe.seed)]
    if recipe.optimizer.warmup_epochs:
        callbacks.append(WarmUp(recipe.optimizer.warmup_epochs, steps, begin))
    if chief:
        callbacks.append(Validation(evaluate))
    callbacks += [StopOnDivergence(begin), snapshots]
    if chief:
        callbacks += event_files.callbacks(run.tensorboard)
        recorder = Recorder(run, run.rows_until(begin.epoch), task_of(recipe), begin)
        callbacks += [recorder, Pace(recipe, recorder)]
        if recipe.early_stopping_epochs:
            callbacks.append(
                EarlyStopping(lambda: recorder.rows, recorder.metric, recipe.early_stopping_epochs)
            )
    if recipe.temperature_epochs:
        start, epochs = recipe.model.attention.temperature, recipe.temperature_epochs
        callbacks.append(sb_keras.callbacks.TemperatureAnnealing(start=start, epochs=epochs))
    return callbacks
