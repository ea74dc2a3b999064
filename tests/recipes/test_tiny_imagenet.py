"""Tiny-ImageNet in memory: both layouts, and the same pixels as an image folder of the same files."""

import dataclasses
import shutil

import numpy as np
import PIL.Image
import pytest

from recipes import registry
from recipes.data import load
from recipes.errors import UserError

RECIPE = registry.find("tinyimagenet-mobilenetv2-sb").override(["batch_size=4", "epochs=2"])
CLASSES = ("n01443537", "n01629819", "n01641577")


def write_pictures(folder, count, seed, size=64):
    generator = np.random.default_rng(seed)
    folder.mkdir(parents=True)
    for number in range(count):
        # Smooth, so that they can be told apart at any size, and lossless.
        rough = PIL.Image.fromarray(generator.integers(0, 256, (8, 8, 3), dtype="uint8"))
        rough.resize((size, size), PIL.Image.Resampling.BICUBIC).save(folder / f"{folder.name}_{number}.png")


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    root = tmp_path_factory.mktemp("tiny")
    for label, name in enumerate(CLASSES):
        write_pictures(root / "train" / name, 3, label)
        write_pictures(root / "test" / name, 2, 10 + label)
    return root


def data_of(root, **changes):
    return dataclasses.replace(RECIPE.data, directory=str(root), **changes)


def arrays(batches):
    images, labels = zip(*[(np.asarray(x), np.asarray(y)) for x, y in batches], strict=True)
    return np.concatenate(images), np.concatenate(labels)


def test_folders_of_classes(root):
    dataset = load(data_of(root))
    assert dataset.classes == CLASSES
    assert dataset.train.images.shape == (9, 64, 64, 3)
    assert dataset.train.labels.tolist() == [0, 0, 0, 1, 1, 1, 2, 2, 2]
    assert dataset.test.labels.tolist() == [0, 0, 1, 1, 2, 2]
    assert dataset.validation is dataset.test
    with PIL.Image.open(root / "train" / CLASSES[1] / f"{CLASSES[1]}_2.png") as image:
        np.testing.assert_array_equal(dataset.train.images[5], image)


def test_as_it_is_unpacked(root, tmp_path):
    expected = load(data_of(root))
    for name in CLASSES:
        shutil.copytree(root / "train" / name, tmp_path / "train" / name / "images")
        (tmp_path / "train" / name / f"{name}_boxes.txt").touch()
    images = tmp_path / "val" / "images"
    images.mkdir(parents=True)
    write_pictures(tmp_path / "test" / "images", 2, 30)  # which have no labels
    lines = []
    for number, path in enumerate(sorted((root / "test").rglob("*.png"))):
        shutil.copy(path, images / f"val_{number}.JPEG")  # decoded by what it holds
        lines.append(f"val_{number}.JPEG\t{path.parent.name}\t0\t32\t44\t62\n")
    (tmp_path / "val" / "val_annotations.txt").write_text("".join(reversed(lines)))
    dataset = load(data_of(tmp_path))
    np.testing.assert_array_equal(dataset.train.images, expected.train.images)
    np.testing.assert_array_equal(dataset.test.images, expected.test.images[::-1])
    np.testing.assert_array_equal(dataset.test.labels, expected.test.labels[::-1])


@pytest.mark.parametrize("augmentation", ["random_resized_crop", "pad_crop"])
def test_pixels_are_those_of_an_image_folder(root, augmentation):
    """Whether pictures are decoded once or in every step must not show: to the bit."""
    found = []
    for name in ("tiny_imagenet", "image_folder"):
        data = data_of(root, name=name, augmentation=augmentation)
        dataset, recipe = load(data), dataclasses.replace(RECIPE, data=data)
        test, train = dataset.test, dataset.train
        batches = (
            test.evaluation_batches(data, 4),
            test.pixel_batches(data, 4),
            train.training_batches(recipe),
        )
        found.append([arrays(each) for each in batches])
    for (images, labels), (expected, expected_labels) in zip(*found, strict=True):
        np.testing.assert_array_equal(labels, expected_labels)
        np.testing.assert_array_equal(images, expected)


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda root: shutil.rmtree(root / "train"), "must have a folder 'train'"),
        (lambda root: shutil.rmtree(root / "test"), r"val_annotations\.txt, or a folder 'test'"),
        (
            lambda root: write_pictures(root / "test" / CLASSES[0] / "more", 1, 5, size=63),
            r"more_0.png must have 64×64 pixels. Received: 63×63",
        ),
        (
            lambda root: (root / "test" / CLASSES[0] / "broken.png").write_bytes(b"no picture"),
            r"cannot read .*broken\.png as a picture",
        ),
    ],
    ids=["no training", "no test", "another size", "broken"],
)
def test_what_is_wrong_is_named(root, tmp_path, spoil, message):
    copy = tmp_path / "tiny"
    shutil.copytree(root, copy)
    spoil(copy)
    with pytest.raises(UserError, match=message):
        load(data_of(copy))


def test_a_label_of_no_class_is_named(root, tmp_path):
    copy = tmp_path / "tiny"
    shutil.copytree(root, copy)
    (copy / "val").mkdir()
    (copy / "val" / "val_annotations.txt").write_text("val_0.JPEG\tn999\t0\t0\t1\t1\n")
    with pytest.raises(UserError, match=r"line 1: a class among those in 'train' expected. Received: 'n999'"):
        load(data_of(copy))
