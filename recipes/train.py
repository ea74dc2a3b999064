"""Trains a network by a recipe; started again on an unfinished run directory, goes on where it stopped.

python -m recipes.train [RECIPE] [--set key=value ...] --run-dir DIR [--strategy one-device|mirrored]
"""

import argparse
import contextlib
import platform
import sys

import keras
import numpy as np
import tensorflow as tf

import sb_keras
from recipes import data as data_sets
from recipes import registry
from recipes.curves import plot_curves
from recipes.errors import exit_code
from recipes.monitoring import Diverged, DropoutSeeds, LambdaHistograms, Recorder, StopOnDivergence
from recipes.run_directory import RunDirectory, load_model, replacing

STRATEGIES = ("one-device", "mirrored")


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
        accuracy = run.result["test_accuracy"]
        print(f"{run.path} is finished already: test accuracy {accuracy:.4f}. Nothing was changed.")
        return 0
    try:
        result = train(run, args.strategy, recipe)
    except Diverged as error:
        print(f"error: {error}; try a smaller optimizer.learning_rate", file=sys.stderr)
        return 1
    print(f"test accuracy {result['test_accuracy']:.4f}, in {run.path}")
    return 0


def train(run, strategy="one-device", recipe=None):
    """Trains the run's recipe to its end, from its latest checkpoint if there is one.

    Args:
        run: A `RunDirectory`.
        strategy: `"one-device"` or `"mirrored"` (all devices of this machine).
        recipe: The recipe to claim the directory for, once the data are loaded. By default the one that
            the directory was claimed for.

    Returns:
        The result, which is also in result.json.

    Raises:
        UserError: If the data cannot be loaded or do not suit the recipe, or the directory is not
            that of this recipe. Nothing is written then.
        Diverged: If the loss becomes infinite or NaN.
    """
    recipe = recipe or run.recipe
    run.check(recipe)
    dataset = data_sets.load(recipe.data)
    steps = data_sets.steps_per_epoch(dataset.train, recipe)
    run.claim(recipe)
    keras.utils.set_random_seed(recipe.seed)
    keras.config.set_dtype_policy(recipe.precision)

    checkpoint, epochs_done = run.latest_checkpoint()
    with _scope(strategy):
        if checkpoint:
            print(f"going on with {run.path} after epoch {epochs_done} of {recipe.epochs}")
            model = load_model(checkpoint)
            data_sets.check_classes(dataset, model)
        else:
            model = compiled_model(recipe, len(dataset.classes))
        create_state(model, len(dataset.classes))

    def evaluation(split):
        return data_sets.evaluation_batches(split, recipe.data, recipe.batch_size)

    rows = [row for row in run.log if row["epoch"] <= epochs_done]
    if epochs_done < recipe.epochs:
        model.fit(
            data_sets.training_batches(dataset.train, recipe, epochs_done),
            steps_per_epoch=steps,
            initial_epoch=epochs_done,
            epochs=recipe.epochs,
            validation_data=evaluation(dataset.validation),
            callbacks=_callbacks(run, recipe, rows),
            shuffle=False,  # the batches are in a random order already
            verbose="auto" if sys.stdout.isatty() else 2,
        )
    run.save_model(model, run.final_file)
    loss, accuracy = model.evaluate(evaluation(dataset.test), verbose=0)
    rows = run.log
    with replacing(run.curves_file) as temporary:
        plot_curves(rows, f"{recipe.name}: test accuracy {100 * accuracy:.2f} %", temporary)
    best = max(rows, key=lambda row: row["val_accuracy"])
    result = {
        "recipe": recipe.name,
        "test_accuracy": accuracy,
        "test_loss": loss,
        "validation_accuracy": rows[-1]["val_accuracy"],
        "best_validation_accuracy": best["val_accuracy"],
        "best_epoch": best["epoch"],
        "classes": list(dataset.classes),
        "parameters": sb_keras.profile(model).total.parameters,
        "epochs": recipe.epochs,
        "seconds": round(sum(row["seconds"] for row in rows), 1),
        "versions": {
            "python": platform.python_version(),
            "tensorflow": tf.__version__,
            "keras": keras.__version__,
            "sb_keras": sb_keras.__version__,
        },
    }
    run.write_result(result)
    return result


def compiled_model(recipe, classes):
    """Builds and compiles a recipe's network for a number of classes."""
    model = recipe.model.build(recipe.data.image_size, classes)
    model.compile(
        optimizer=sb_keras.optimizers.SGD(
            learning_rate=recipe.optimizer.learning_rate,
            momentum=recipe.optimizer.momentum,
            coupled_weight_decay=recipe.optimizer.weight_decay,
        ),
        loss="sparse_categorical_crossentropy",
        metrics=["accuracy"],
    )
    return model


def create_state(model, classes):
    """Creates the variables of optimizer and metrics before the training step is traced.

    A step that creates variables when it is first traced is traced once more: half a minute for a
    network with SB in every layer.
    """
    model.optimizer.build(model.trainable_variables)
    labels, predictions = np.zeros(1, "int32"), np.full((1, classes), 1 / classes, "float32")
    model.compute_loss(y=labels, y_pred=predictions)
    model.compute_metrics(None, labels, predictions)
    model.reset_metrics()


def _scope(strategy):
    if strategy == "mirrored":
        return tf.distribute.MirroredStrategy().scope()
    return contextlib.nullcontext()


def _callbacks(run, recipe, rows):
    def learning_rate(epoch, _):
        return recipe.optimizer.learning_rate_at(epoch, recipe.epochs)

    callbacks = [
        keras.callbacks.LearningRateScheduler(learning_rate),
        DropoutSeeds(recipe.seed),
        StopOnDivergence(),
        keras.callbacks.TensorBoard(str(run.tensorboard), write_graph=False),
        LambdaHistograms(run.tensorboard / "train"),
        Recorder(run, rows),
    ]
    if recipe.temperature_epochs:
        start, epochs = recipe.model.attention.temperature, recipe.temperature_epochs
        callbacks.append(sb_keras.callbacks.TemperatureAnnealing(start=start, epochs=epochs))
    return callbacks


if __name__ == "__main__":
    sys.exit(exit_code(main))
