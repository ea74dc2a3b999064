"""Trains a network by a recipe; started again on an unfinished run directory, goes on where it stopped.

python -m recipes.train [RECIPE] [--set key=value ...] --run-dir DIR [--strategy STRATEGY]

STRATEGY is one-device, mirrored (all devices of this machine), multi-worker (several machines, see README.md
in this folder) or tpu.
"""

import argparse
import importlib.metadata
import os
import platform
import sys
from typing import Any

import keras

import sb_keras
from recipes import registry
from recipes.curves import plot_curves
from recipes.data import bad_pictures_named, steps_per_epoch
from recipes.distribution import (
    STRATEGIES,
    WorkerLost,
    is_chief,
    keras_suffices,
    lost_workers_reported,
    prepare,
    scope_of,
    strategy_of,
    synchronize_norms,
)
from recipes.errors import exit_code
from recipes.monitoring import (
    Diverged,
    DropoutSeeds,
    Recorder,
    StopOnDivergence,
    Validation,
)
from recipes.run_directory import RunDirectory, full_disk_reported, load_model, replacing
from recipes.tasks import task_of


def main(argv=None):
    parser = argparse.ArgumentParser(
        prog="python -m recipes.train", description=(__doc__ or "").partition("\n")[0]
    )
    parser.add_argument(
        "recipe",
        nargs="?",
        default=registry.DEFAULT,
        help="a name that `python -m recipes.list` shows, or a recipe's JSON file (default: %(default)s)",
    )
    parser.add_argument("--set", metavar="KEY=VALUE", action="append", default=[], help="changes the recipe")
    parser.add_argument("--run-dir", metavar="DIR", required=True, help="where everything is written")
    parser.add_argument("--strategy", choices=STRATEGIES, default="one-device", help="tf.distribute strategy")
    args = parser.parse_args(argv)

    recipe = registry.find(args.recipe).override(args.set)
    run = RunDirectory(args.run_dir)
    run.check(recipe)
    if run.result:
        print(f"{run.path} is finished already: {_score(recipe, run.result)}. Nothing was changed.")
        return 0
    strategy = strategy_of(args.strategy)
    try:
        result = train(run, strategy, recipe)
    except Diverged as error:
        print(f"error: {error}; try a smaller optimizer.learning_rate", file=sys.stderr)
        return 1
    except WorkerLost as error:
        print(f"error: {error}", file=sys.stderr, flush=True)
        os._exit(1)  # TensorFlow's own threads would wait for the lost worker for minutes
    if result:
        print(f"{_score(recipe, result)}, in {run.path}")
    return 0


def _score(recipe, result):
    metric = task_of(recipe).METRIC
    return f"test {metric.replace('_', ' ')} {result[f'test_{metric}']:.4f}"


def train(run, strategy=None, recipe=None) -> Any:
    """Trains the run's recipe to its end, from its latest checkpoint if there is one.

    Args:
        run: A `RunDirectory`.
        strategy: A `tf.distribute.Strategy`; None for one device.
        recipe: The recipe to claim the directory for, once the data are loaded. By default the one that
            the directory was claimed for.

    Returns:
        The result, which is also in result.json; None in a worker that is not the chief and writes nothing.

    Raises:
        UserError: If the data or the backbone cannot be loaded or do not suit the recipe, or the
            directory is not that of this recipe. Nothing is written then.
        CannotWrite: If the disk is full, for example. The same call goes on after the last checkpoint.
        Diverged: If the loss becomes infinite or NaN.
        WorkerLost: If another worker is gone.
    """
    recipe = recipe or run.recipe
    run.check(recipe)
    task = task_of(recipe)
    dataset = task.load(recipe.data)
    steps = steps_per_epoch(dataset.train, recipe)
    keras.utils.set_random_seed(recipe.seed)
    keras.config.set_dtype_policy(recipe.precision)

    checkpoint, epochs_done = run.latest_checkpoint()
    rows = run.rows_until(epochs_done)
    with scope_of(strategy):
        if checkpoint:
            print(f"going on with {run.path} after epoch {epochs_done} of {recipe.epochs}")
            model = load_model(checkpoint)
            task.check_classes(dataset, model)
        else:
            model = task.compiled_model(recipe, len(dataset.classes))
        if recipe.synchronized_batch_norm:  # a file does not hold it for the layers within attention layers
            synchronize_norms(model)
        task.create_state(model, len(dataset.classes))
    prepare(model, strategy, recipe)
    chief = is_chief(strategy)
    if chief:
        run.claim(recipe)

    def evaluate(model, split=dataset.validation):
        if not keras_suffices(strategy, recipe):  # the other workers do not evaluate
            model = _local_copy(model, recipe, len(dataset.classes))
        return task.evaluate(model, split, recipe)

    if epochs_done < recipe.epochs:
        with (
            lost_workers_reported(strategy),
            bad_pictures_named(dataset.train),
            bad_pictures_named(dataset.validation),
            full_disk_reported(run.tensorboard),
        ):
            model.fit(
                task.training_batches(dataset.train, recipe, epochs_done),
                steps_per_epoch=steps,
                initial_epoch=epochs_done,
                epochs=recipe.epochs,
                callbacks=_callbacks(run, recipe, rows, evaluate, chief),
                shuffle=False,  # the batches are in a random order already
                verbose=_verbosity(chief),
            )
    if not chief:
        return None
    model.optimizer.finalize_variable_values(model.trainable_variables)  # the average's, if there is one
    run.save_model(model, run.final_file)
    metric, test = task.METRIC, evaluate(model, dataset.test)
    rows = run.log
    title = f"{recipe.name}: test {metric.replace('_', ' ')} {100 * test[metric]:.2f} %"
    with replacing(run.curves_file) as temporary:
        plot_curves(rows, metric, title, temporary)
    best = max(rows, key=lambda row: row[f"val_{metric}"])
    backend = keras.backend.backend()
    result = {
        "recipe": recipe.name,
        f"test_{metric}": test[metric],
        "test_loss": test["loss"],
        f"validation_{metric}": rows[-1][f"val_{metric}"],
        f"best_validation_{metric}": best[f"val_{metric}"],
        "best_epoch": best["epoch"],
        "classes": list(dataset.classes),
        "parameters": sb_keras.profile(model).total.parameters,
        "epochs": recipe.epochs,
        "seconds": round(sum(row["seconds"] for row in rows), 1),
        "versions": {
            "python": platform.python_version(),
            backend: importlib.metadata.version(backend),
            "keras": keras.__version__,
            "sb_keras": sb_keras.__version__,
        },
    }
    run.write_result(result)
    return result


def _local_copy(model, recipe, classes):
    """The model with the same weights, for this process alone."""
    copy = task_of(recipe).compiled_model(recipe, classes)
    for ours, theirs in zip(copy.weights, model.weights, strict=True):
        ours.assign(theirs.numpy())
    return copy


def _verbosity(chief):
    if not chief:
        return 0
    return "auto" if sys.stdout.isatty() else 2


def _callbacks(run, recipe, rows, evaluate, chief):
    def learning_rate(epoch, _):
        return recipe.optimizer.learning_rate_at(epoch, recipe.epochs)

    callbacks = [keras.callbacks.LearningRateScheduler(learning_rate), DropoutSeeds(recipe.seed)]
    if chief:
        callbacks.append(Validation(evaluate))
    callbacks.append(StopOnDivergence())
    if chief:
        if keras.backend.backend() == "tensorflow":
            from recipes import event_files

            callbacks += event_files.callbacks(run.tensorboard)
        callbacks.append(Recorder(run, rows, task_of(recipe)))
    if recipe.temperature_epochs:
        start, epochs = recipe.model.attention.temperature, recipe.temperature_epochs
        callbacks.append(sb_keras.callbacks.TemperatureAnnealing(start=start, epochs=epochs))
    return callbacks


if __name__ == "__main__":
    sys.exit(exit_code(main))
