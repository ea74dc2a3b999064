"""Trains networks on Tiny-ImageNet on one GPU: pictures and augmentation on it, all seeds in one program.

    KERAS_BACKEND=jax python results/tinyimagenet/train.py ARRAYS OUT --rows static sb --seeds 0 1 2

ARRAYS is a file of results/tinyimagenet/arrays.py. The recipes are `recipes.paper.tiny_imagenet`'s; the
networks and the optimizer are `sb_keras`'s; order, augmentation and update are written here in JAX, since
for so small a network the way of the pictures to the GPU would take most of the time. The same seed has the
same order and the same augmentation in every row. An epoch's last batch, which is smaller, is left out.

OUT gets a folder a row and seed, with recipe.json, log.csv, result.json, and of the first seed final.keras.
What OUT holds is not trained again.
"""

import argparse
import importlib.metadata
import pathlib
import platform
import sys
import time

import jax
import jax.numpy as jnp
import keras
import numpy as np

ROOT = pathlib.Path(__file__).parents[2]
sys.path[:0] = [str(ROOT), str(pathlib.Path(__file__).parent)]
import kernels  # noqa: E402
from augmentation import middles, pad_crop_flip, random_resized_crop  # noqa: E402

import sb_keras  # noqa: E402
from recipes import registry  # noqa: E402
from recipes.data import normalized  # noqa: E402
from recipes.run_directory import RunDirectory  # noqa: E402

POINTWISE = "model.attention.positions=expand,project"
MOBILE = "tinyimagenet-mobilenetv2"
# In the order in which they decide most.
ROWS = {
    "static": (f"{MOBILE}-static",),
    "sb": (f"{MOBILE}-sb",),
    "se": (f"{MOBILE}-se",),
    "se-block": (f"{MOBILE}-se-block",),
    "sb-pointwise": (f"{MOBILE}-sb", POINTWISE),
    "se-pointwise": (f"{MOBILE}-se", POINTWISE),
    "dyconv": (f"{MOBILE}-dyconv",),
    "static-x0.75": (f"{MOBILE}-static", "model.width_multiplier=0.75"),  # as many parameters as SB
    "static-x0.4": (f"{MOBILE}-static", "model.width_multiplier=0.4"),  # as many multiply-adds as SB
    "static-x0.5": (f"{MOBILE}-static", "model.width_multiplier=0.5"),
    "sb-x0.5": (f"{MOBILE}-sb", "model.width_multiplier=0.5"),
    "mnasnet-static": ("tinyimagenet-mnasnet-static",),
    "mnasnet-sb": ("tinyimagenet-mnasnet-sb",),
    "mnasnet-se": ("tinyimagenet-mnasnet-se",),
    "shufflenetv2-static": ("tinyimagenet-shufflenetv2-static",),
    "shufflenetv2-sb": ("tinyimagenet-shufflenetv2-sb",),
    "shufflenetv2-se": ("tinyimagenet-shufflenetv2-se",),
    **{
        f"sb-hidden-{hidden}": (f"{MOBILE}-sb", f"model.attention.hidden_multiplier={hidden}")
        for hidden in (0.25, 0.0625)
    },
    # Another data set: how long the paper's 200 epochs take.
    "cifar10-static": ("cifar10-mobilenetv2-static",),
    "cifar10-sb": ("cifar10-mobilenetv2-sb",),
}


def recipe_of(row, epochs, seed):
    name, *settings = ROWS[row]
    return registry.find(name).override([*settings, f"epochs={epochs}", f"seed={seed}"])


class Program:
    """A row's networks, one a seed, and the functions that train and evaluate all of them at once."""

    def __init__(self, recipes, classes):
        self.recipe, self.seeds = recipes[0], jnp.array([recipe.seed for recipe in recipes])
        states = []
        for recipe in recipes:
            keras.utils.set_random_seed(recipe.seed)
            self.model = recipe.model.build(recipe.data.image_size, classes)
            self.optimizer = recipe.optimizer.build([])
            self.optimizer.build(self.model.trainable_variables)
            variables = self.model.trainable_variables, self.model.non_trainable_variables
            states.append([[v.value for v in vs] for vs in (*variables, self.optimizer.variables)])
        self.state = tuple(jax.tree.map(lambda *values: jnp.stack(values), *states))
        # Keras's own place of the learning rate, which is different in every epoch.
        names = [variable.path for variable in self.optimizer.variables]
        self._rate = names.index(self.optimizer._learning_rate.path)
        self.epoch = jax.jit(self._epoch, donate_argnums=0)
        self.evaluate = jax.jit(self._evaluate)

    def _loss(self, trainable, other, x, labels):
        probabilities, other = self.model.stateless_call(trainable, other, x, training=True)
        return *self._scores(probabilities, labels), other

    def _scores(self, probabilities, labels):
        losses = keras.losses.sparse_categorical_crossentropy(labels, probabilities)
        return jnp.mean(losses), jnp.mean(jnp.argmax(probabilities, -1) == labels)

    def _step(self, state, key, images, labels):
        """One network's step; `jax.vmap` makes it that of several."""
        trainable, other, optimizer = state
        data = self.recipe.data
        if data.augmentation == "random_resized_crop":
            images = random_resized_crop(key, images, data.image_size)
        else:
            images = pad_crop_flip(key, images, data.pad)
        x = normalized(images, data.mean, data.std)

        def loss_of(trainable):
            loss, accuracy, changed = self._loss(trainable, other, x, labels)
            return loss, (accuracy, changed)

        (loss, (accuracy, other)), gradients = jax.value_and_grad(loss_of, has_aux=True)(trainable)
        trainable, optimizer = self.optimizer.stateless_apply(optimizer, gradients, trainable)
        return (trainable, other, optimizer), (loss, accuracy)

    def _epoch(self, state, images, labels, epoch, rate):
        batch, count = self.recipe.batch_size, len(labels)
        steps = count // batch
        keys = jax.vmap(lambda seed: jax.random.fold_in(jax.random.key(seed), epoch))(self.seeds)
        orders = jax.vmap(lambda key: jax.random.permutation(key, count))(keys)
        trainable, other, optimizer = state
        optimizer = [jnp.full_like(v, rate) if i == self._rate else v for i, v in enumerate(optimizer)]

        def step(state, number):
            def of_seed(state, key, order):
                chosen = jax.lax.dynamic_slice(order, (number * batch,), (batch,))
                return self._step(state, jax.random.fold_in(key, number + 1), images[chosen], labels[chosen])

            return jax.vmap(of_seed)(state, keys, orders)

        state, (losses, accuracies) = jax.lax.scan(step, (trainable, other, optimizer), jnp.arange(steps))
        return state, losses.mean(axis=0), accuracies.mean(axis=0)

    def _evaluate(self, state, images, labels):
        trainable, other, _ = state
        images, labels = images.reshape(-1, 500, *images.shape[1:]), labels.reshape(-1, 500)

        def scores(batch):
            def of_seed(trainable, other):
                data = self.recipe.data
                x = normalized(batch[0].astype(jnp.float32), data.mean, data.std)
                return self._scores(
                    self.model.stateless_call(trainable, other, x, training=False)[0], batch[1]
                )

            return jax.vmap(of_seed)(trainable, other)

        return tuple(x.mean(axis=0) for x in jax.lax.map(scores, (images, labels)))

    def restore(self, number):
        """Gives the model the weights of one of the seeds."""
        trainable, other, _ = jax.tree.map(lambda x: np.asarray(x[number]), self.state)
        for variables, values in (
            (self.model.trainable_variables, trainable),
            (self.model.non_trainable_variables, other),
        ):
            for variable, value in zip(variables, values, strict=True):
                variable.assign(value)


def train(row, arguments, arrays):
    recipes = [recipe_of(row, arguments.epochs, seed) for seed in arguments.seeds]
    folders = [arguments.out / f"{row}-{recipe.seed}" for recipe in recipes]
    if all((folder / "result.json").exists() for folder in folders):
        return
    start = time.perf_counter()
    program, recipe = Program(recipes, len(arrays["classes"])), recipes[0]
    rows = [[] for _ in recipes]
    for epoch in range(recipe.epochs):
        rate = recipe.optimizer.learning_rate_at(epoch, recipe.epochs)
        begin = time.perf_counter()
        program.state, *train = program.epoch(program.state, *arrays["train"], epoch, rate)
        jax.block_until_ready(program.state)
        seconds = time.perf_counter() - begin
        test = program.evaluate(program.state, *arrays["test"])
        for log, loss, accuracy, val_loss, val_accuracy in zip(rows, *train, *test, strict=True):
            log.append(
                {
                    "epoch": epoch + 1,
                    "loss": float(loss),
                    "accuracy": float(accuracy),
                    "val_loss": float(val_loss),
                    "val_accuracy": float(val_accuracy),
                    "learning_rate": float(rate),
                    "seconds": round(seconds, 3),
                }
            )
        images = len(recipes) * (len(arrays["train"][1]) // recipe.batch_size) * recipe.batch_size
        accuracies = ", ".join(f"{100 * log[-1]['val_accuracy']:.2f}" for log in rows)
        print(
            f"{row} {epoch + 1}/{recipe.epochs}: {seconds:.2f} s, {images / seconds:.0f} images/s, "
            f"test {accuracies} %, {time.perf_counter() - start:.0f} s in all",
            flush=True,
        )
    whole = program.evaluate(program.state, *arrays["train as test"])
    for number, (recipe, folder, log) in enumerate(zip(recipes, folders, rows, strict=True)):
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "recipe.json").write_text(recipe.to_json())
        RunDirectory(folder).write_log(log)
        program.restore(number)
        if number == 0:
            program.model.save(folder / "final.keras")
        result = result_of(recipe, program.model, log, arrays["classes"])
        result["training_accuracy_not_augmented"] = float(whole[1][number])
        RunDirectory(folder).write_result(result)


def result_of(recipe, model, log, classes):
    """What `recipes.train` writes into result.json."""
    best = max(log, key=lambda line: line["val_accuracy"])
    return {
        "recipe": recipe.name,
        "test_accuracy": log[-1]["val_accuracy"],
        "test_loss": log[-1]["val_loss"],
        "validation_accuracy": log[-1]["val_accuracy"],
        "best_validation_accuracy": best["val_accuracy"],
        "best_epoch": best["epoch"],
        "classes": list(classes),
        "parameters": sb_keras.profile(model).total.parameters,
        "epochs": len(log),
        "seconds": round(sum(line["seconds"] for line in log), 1),
        "device": jax.devices()[0].device_kind,
        "versions": {
            "python": platform.python_version(),
            "jax": importlib.metadata.version("jax"),
            "keras": keras.__version__,
            "sb_keras": sb_keras.__version__,
        },
    }


def load(path, data):
    file = np.load(path)
    train = jnp.asarray(file["train_images"]), jnp.asarray(file["train_labels"])
    some = np.random.default_rng(0).permutation(len(train[1]))[: min(10_000, len(train[1]) // 500 * 500)]
    return {
        "classes": [str(name) for name in file["classes"]],
        "train": train,
        "test": (middles(jnp.asarray(file["test_images"]), data), jnp.asarray(file["test_labels"])),
        "train as test": (middles(train[0][some], data), train[1][some]),
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("arrays", type=pathlib.Path)
    parser.add_argument("out", type=pathlib.Path)
    parser.add_argument("--rows", nargs="+", choices=ROWS, default=list(ROWS), metavar="ROW")
    parser.add_argument("--epochs", type=int, default=15)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--until", type=float, default=float("inf"), help="begins no row after this time")
    arguments = parser.parse_args()
    kernels.install()
    arrays = load(arguments.arrays, recipe_of(arguments.rows[0], 1, 0).data)
    for row in arguments.rows:
        if time.time() < arguments.until:
            train(row, arguments, arrays)


if __name__ == "__main__":
    main()
