"""Pictures a second and core from a folder of JPEGs, against `keras.utils.image_dataset_from_directory`.

python -m benchmarks.folders [--rounds N] [--csv FILE] [--plot FILE]

The pictures are ImageNet's of tensorflow-datasets (`TFDS_DATA_DIR`), resized to 64, 224, 500 and, as a
phone's, 3000 pixels on the longer side. A network sees 64 pixels of the smallest, 224 of the others. Keras's
function decodes whole pictures and resizes them, which is what an evaluation does; a training also draws a
part of each, mirrors it and changes its colors.
"""

import functools
import io
import pathlib
import sys
import tempfile

import PIL.Image

from benchmarks import output
from benchmarks.input import HEAD, IMAGENET_BATCH, consumer, imagenet_pictures, measure
from recipes.command import exit_code
from recipes.errors import UserError

# Longer side: what a network sees, how many pictures there are, and how often each is read in a round, so
# often that a pipeline's start does not matter.
SIDES = {64: (64, 256, 16), 224: (224, 256, 4), 500: (224, 256, 4), 3000: (224, 64, 1)}


def main(argv=None):
    args = output.parser("folders", (__doc__ or "").partition("\n")[0]).parse_args(argv)
    output.check(args)
    pictures = imagenet_pictures()
    if not pictures:
        raise UserError("this needs imagenet2012 (TFDS_DATA_DIR)")
    rows = []
    with tempfile.TemporaryDirectory() as root:
        for side, (size, count, times) in SIDES.items():
            folder = pathlib.Path(root, str(side))
            write(pictures[:count], folder, side)
            where = folder, size, times * count // IMAGENET_BATCH
            variants = {
                "evaluation": functools.partial(evaluation, *where),
                "Keras": functools.partial(stock_keras, *where),
                "training": functools.partial(training, *where, "none"),
                "training, cached": functools.partial(training, *where, "memory"),
            }
            rows += measure(f"{side} px", variants, times * count, args.rounds)
    output.show(args, HEAD, rows)
    output.save(args, plot, HEAD, rows)


def write(pictures, folder, side):
    """Writes JPEG files whose longer side has so many pixels, of two classes."""
    for number, content in enumerate(pictures):
        path = folder / ("one", "other")[number % 2] / f"{number}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        with PIL.Image.open(io.BytesIO(content)) as image:
            scale = side / max(image.size)
            shape = [max(1, round(scale * length)) for length in image.size]
            image.convert("RGB").resize(shape, PIL.Image.Resampling.LANCZOS).save(path, quality=90)


def split_and_recipe(folder, size, cache):
    from recipes.data.class_folders import LeftOut, class_names, pictures_of
    from recipes.data.image_folder import Files
    from recipes.registry import find

    settings = [f"data.directory={folder}", f"data.image_size={size}", f"data.cache={cache}"]
    recipe = find("photos-mobilenetv2-static").override(
        [*settings, f"batch_size={IMAGENET_BATCH}", "epochs=100"]
    )
    return Files(*pictures_of(folder, class_names(folder), LeftOut(folder))), recipe


def training(folder, size, steps, cache):
    """As the recipe for own pictures reads them."""
    split, recipe = split_and_recipe(folder, size, cache)
    batches = split.training_batches(recipe)
    if cache != "none":
        consumer(batches, steps)()  # an epoch in which they are decoded
    return consumer(batches, steps)


def evaluation(folder, size, steps):
    """Whole pictures, as a test sees them."""
    split, recipe = split_and_recipe(folder, size, "none")
    return consumer(split.evaluation_batches(recipe.data, IMAGENET_BATCH).repeat(), steps)


def stock_keras(folder, size, steps):
    """Whole pictures, resized to as many pixels, but without antialiasing, and normalized."""
    import keras

    batches = keras.utils.image_dataset_from_directory(
        str(folder),
        batch_size=IMAGENET_BATCH,
        image_size=(size * 8 // 7, size * 8 // 7),
        interpolation="bilinear",
        verbose=False,
    )
    return consumer(batches.repeat().map(lambda images, labels: (images / 127.5 - 1.0, labels)), steps)


def plot(rows):
    """Pictures a second and core, a group a size."""
    from recipes.plots import new_figure

    figure, ((axes,),) = new_figure(size=(7.0, 4.0))
    names = list(dict.fromkeys(row["pipeline"] for row in rows))
    for number, name in enumerate(names):
        chosen = [row["images_per_s_and_core"] for row in rows if row["pipeline"] == name]
        places = [group + 0.2 * (number - (len(names) - 1) / 2) for group in range(len(chosen))]
        axes.bar(places, chosen, 0.18, label=name)
    axes.set_xticks(range(len(SIDES)), [f"{side} px" for side in SIDES])
    axes.set(ylabel="pictures/s a core", xlabel="longer side", yscale="log")
    axes.yaxis.set_major_formatter("{x:g}")
    axes.legend(frameon=False)
    return figure


if __name__ == "__main__":
    sys.exit(exit_code(main))
