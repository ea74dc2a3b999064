"""Tests that pictures are normalized as the weights that a network begins with need it."""

import zipfile

import pytest

from recipes import pretrained, registry
from recipes.errors import UserError
from recipes.search.spaces import check_space, trial_recipe

PHOTOS = registry.find("photos-mobilenetv2-sb")
# torchvision's documentation of its ImageNet weights.
TORCHVISION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


@pytest.fixture
def files(tmp_path):
    """A file of either kind; what is in it is of no account here."""
    for name in ("weights.pth", "weights.h5", "weights.safetensors", "strange.bin"):
        (tmp_path / name).touch()
    return tmp_path


def test_the_recipe_follows_its_weights(files):
    for name in ("weights.pth", "weights.safetensors"):
        setting = f"model.weights={files / name}"
        recipe = pretrained.follow(PHOTOS.override([setting]), ["model.weights"])
        assert (recipe.data.mean, recipe.data.std) == TORCHVISION
        pretrained.check(recipe)
    recipe = pretrained.follow(PHOTOS.override([f"model.weights={files / 'weights.h5'}"]), ["model.weights"])
    assert recipe.data == PHOTOS.data


def test_a_run_directory_knows_its_own(tmp_path):
    other = registry.find("cifar10-mobilenetv2-sb")
    (tmp_path / "recipe.json").write_text(other.to_json())
    for path in (tmp_path, tmp_path / "best.keras"):
        assert pretrained.normalization(str(path)) == (other.data.mean, other.data.std)


def test_a_keras_file_of_keras_applications(tmp_path):
    for layer, expected in (("Conv1", pretrained.KERAS), ("stem", None)):
        path = tmp_path / f"{layer}.keras"
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("config.json", f'{{"config": {{"layers": [{{"name": "{layer}"}}]}}}}')
        assert pretrained.normalization(str(path)) == expected
    with zipfile.ZipFile(tmp_path / "empty.keras", "w"):
        pass
    (tmp_path / "damaged.keras").touch()
    for name in ("empty", "damaged", "missing"):
        assert pretrained.normalization(str(tmp_path / f"{name}.keras")) is None


def test_a_checkpoint_is_in_a_run_directory(tmp_path):
    other = registry.find("cifar10-mobilenetv2-sb")
    (tmp_path / "recipe.json").write_text(other.to_json(), encoding="utf-8-sig")  # by Windows's editor
    path = tmp_path / "checkpoints" / "epoch-0001.keras"
    assert pretrained.normalization(str(path)) == (other.data.mean, other.data.std)


def test_a_trial_of_other_weights_follows_them(files):
    space = {"model.weights": [str(files / "weights.pth"), str(files / "weights.h5")]}
    check_space(PHOTOS, space, "grid")
    torch, keras = (trial_recipe(PHOTOS, {"model.weights": path}).data for path in space["model.weights"])
    assert (torch.mean, torch.std) == TORCHVISION
    assert (keras.mean, keras.std) == (PHOTOS.data.mean, PHOTOS.data.std)
    with pytest.raises(UserError, match=r"nothing\.h5, which does not exist"):
        check_space(PHOTOS, {"model.weights": [str(files / "nothing.h5")]}, "grid")


def test_a_mismatch_is_refused_with_what_to_add(files):
    keys = ["model.weights", "data.mean"]
    settings = [f"model.weights={files / 'weights.pth'}", "data.mean=0.5,0.5,0.4"]
    recipe = pretrained.follow(PHOTOS.override(settings), keys)
    assert recipe.data.mean == (0.5, 0.5, 0.4)
    with pytest.raises(UserError, match=r"add --set data\.mean=0\.485,0\.456,0\.406 --set data\.std=0\.229,"):
        pretrained.check(recipe)


def test_unknown_files(files, tmp_path):
    pretrained.check(
        PHOTOS.override([f"model.weights={files / 'strange.bin'}"])
    )  # the builder says what it is
    with pytest.raises(
        UserError, match=r"must be \"imagenet\" or a path\. Received: .*nothing\.h5, which does not"
    ):
        pretrained.check(PHOTOS.override([f"model.weights={tmp_path / 'nothing.h5'}"]))
    pretrained.check(registry.find("digits-mobilenetv2-sb"))


def test_attention_that_takes_what_the_weights_know_is_remarked(files, tmp_path):
    weights = f"model.weights={files / 'weights.h5'}"
    for kind in ("static", "sb", "dyconv"):
        assert pretrained.remark(PHOTOS.override([weights, f"model.attention.kind={kind}"], idle=True)) == ""
    squeezed = PHOTOS.override([weights, "model.attention.kind=se"], idle=True)
    assert pretrained.remark(squeezed).startswith("note: with se a network does not begin as the one that")
    assert pretrained.remark(squeezed.override(["model.weights=none", "model.freeze=none"])) == ""
    # Those of a training with the same attention have it.
    (tmp_path / "recipe.json").write_text(squeezed.to_json())
    assert pretrained.remark(squeezed.override([f"model.weights={tmp_path / 'best.keras'}"])) == ""
