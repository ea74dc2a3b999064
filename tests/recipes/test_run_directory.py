"""Tests of the run directory: whose it is, whole files, checkpoints."""

import json
import re

import keras
import numpy as np
import pytest

from recipes.errors import UserError
from recipes.files import replacing
from recipes.registry import RECIPES
from recipes.run_directory import RunDirectory

RECIPE = RECIPES["digits-mobilenetv2-sb"]


@pytest.fixture
def run(tmp_path):
    run = RunDirectory(tmp_path / "some" / "run")
    run.claim(RECIPE)
    return run


@pytest.fixture
def model():
    return keras.Sequential([keras.layers.Input((4,)), keras.layers.Dense(2)])


def test_claim(run):
    assert run.recipe == RECIPE
    assert json.loads((run.path / "recipe.json").read_text())["name"] == RECIPE.name
    assert {path.name for path in run.path.iterdir()} == {"recipe.json", "checkpoints"}
    run.claim(RECIPE)
    assert RunDirectory.existing(run.path).recipe == RECIPE
    assert run.result is None
    assert run.log == []


def test_claim_of_another_recipe_names_the_differences(run):
    other = RECIPE.override(["epochs=3", "model.attention.gate=relu"])
    before = (run.path / "recipe.json").read_bytes()
    message = (
        "belongs to another recipe: model.attention.gate is None there, 'relu' here; "
        "epochs is 10 there, 3 here"
    )
    for method in (run.check, run.claim):
        with pytest.raises(UserError, match=message):
            method(other)
    assert (run.path / "recipe.json").read_bytes() == before


def test_a_folder_that_was_moved(tmp_path):
    run, file = RunDirectory(tmp_path / "run"), tmp_path / "run" / "recipe.json"
    run.claim(RECIPE.override(["data.directory=old"]))
    message = (
        r"data.directory is 'old' there, 'new' here\. Choose another --run-dir, or change it in "
        rf"{re.escape(str(file))} if the folder was moved$"
    )
    with pytest.raises(UserError, match=message):
        run.check(RECIPE.override(["data.directory=new"]))
    file.write_text(file.read_text().replace('"old"', '"new"'))
    run.check(RECIPE.override(["data.directory=new"]))


@pytest.mark.parametrize("schedule", ["schedule=constant", "schedule_epochs=9"])
def test_another_number_of_epochs(schedule, tmp_path):
    """Free to choose while the schedule does not depend on it and a checkpoint is there to go on from."""
    run = RunDirectory(tmp_path / "run")
    recipe = RECIPE.override([f"optimizer.{schedule}", "epochs=4"])
    run.claim(recipe)
    for epochs in (2, 8, 4):
        run.claim(recipe.override([f"epochs={epochs}"]))
        assert run.recipe.epochs == epochs
    run.write_result({"test_accuracy": 0.5})
    with pytest.raises(UserError, match=r"has no checkpoint any more .* --set model\.weights=.*run$"):
        run.claim(recipe.override(["epochs=8"]))
    assert run.result
    (run.path / "checkpoints" / "epoch-0004.keras").touch()
    with pytest.raises(UserError, match=r"is trained for 4 epochs already\. Received: epochs=3"):
        run.claim(recipe.override(["epochs=3"]))
    run.claim(recipe.override(["epochs=8"]))
    assert run.result is None


def test_a_directory_of_something_else_is_left_alone(tmp_path):
    (tmp_path / "thesis.tex").write_text("years of work")
    with pytest.raises(UserError, match=r"not empty and has no recipe\.json"):
        RunDirectory(tmp_path).claim(RECIPE)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]
    with pytest.raises(UserError, match=r"is not a run directory: it has no recipe\.json"):
        RunDirectory.existing(tmp_path)


def test_check_writes_nothing(tmp_path):
    RunDirectory(tmp_path / "run").check(RECIPE)
    assert not (tmp_path / "run").exists()


def test_an_empty_directory_is_free(tmp_path):
    RunDirectory(tmp_path).claim(RECIPE)
    assert RunDirectory(tmp_path).recipe == RECIPE


def test_a_killed_claim_can_be_repeated(tmp_path):
    (tmp_path / "tmp-recipe.json").write_text("{")  # killed while it wrote
    run = RunDirectory(tmp_path)
    run.claim(RECIPE)
    assert run.recipe == RECIPE
    (tmp_path / "checkpoints").rmdir()  # killed right after
    run.claim(RECIPE)
    assert (tmp_path / "checkpoints").is_dir()


@pytest.mark.parametrize(
    ("path", "message"), [("file", "file is not a directory"), ("file/run", "cannot write to .*file/run")]
)
def test_a_file_in_the_way(path, message, tmp_path):
    (tmp_path / "file").write_text("mine")
    with pytest.raises(UserError, match=message):
        RunDirectory(tmp_path / path).claim(RECIPE)
    assert (tmp_path / "file").read_text() == "mine"


def test_a_spoilt_recipe_is_named(run):
    (run.path / "recipe.json").write_text("{")
    with pytest.raises(UserError, match=r"recipe\.json: not a recipe"):
        run.check(RECIPE)


def test_files_are_replaced_whole(tmp_path):
    path = tmp_path / "file.txt"
    path.write_text("old")

    def killed():
        with replacing(path) as temporary:
            temporary.write_text("ne")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        killed()
    assert path.read_text() == "old"
    with replacing(path) as temporary:
        temporary.write_text("new")
    assert path.read_text() == "new"
    assert list(tmp_path.iterdir()) == [path]


def test_log(run):
    rows = [
        {"epoch": 1, "loss": 1 / 3, "accuracy": 0.5, "val_loss": 2.0, "val_accuracy": 0.1}
        | {"learning_rate": 0.05000000074505806, "seconds": 1.25},
    ]
    run.write_log(rows)
    assert run.log == rows  # to the last digit
    run.write_log([*rows, {**rows[0], "epoch": 2}])
    assert [row["epoch"] for row in run.log] == [1, 2]


def test_the_last_two_checkpoints_are_kept(run, model):
    assert run.latest_checkpoint() == (None, 0)
    for epoch in (1, 2, 9, 10, 9999, 10000):
        run.save_checkpoint(model, epoch)
    names = sorted(path.name for path in (run.path / "checkpoints").iterdir())
    assert names == ["epoch-10000.keras", "epoch-9999.keras"]
    path, epoch = run.latest_checkpoint()
    assert (path.name, epoch) == ("epoch-10000.keras", 10000)
    np.testing.assert_array_equal(keras.saving.load_model(path).weights[0], model.weights[0])


def test_an_unfinished_file_is_no_checkpoint(run, model):
    run.save_checkpoint(model, 1)
    (run.path / "checkpoints" / "tmp-epoch-0002.keras").write_bytes(b"half of it")
    assert run.latest_checkpoint()[1] == 1
    run.save_checkpoint(model, 2)
    assert run.latest_checkpoint()[1] == 2
    assert not list(run.path.rglob("tmp-*"))


def truncate(content):
    return content[:-100]


def flip_a_byte(content):
    middle = len(content) // 2
    return content[:middle] + bytes([content[middle] ^ 255]) + content[middle + 1 :]


@pytest.mark.parametrize("damage", [truncate, flip_a_byte, lambda content: b""])
def test_a_damaged_checkpoint_is_passed_over(damage, run, model, capsys):
    for epoch in (1, 2):
        run.save_checkpoint(model, epoch)
    first, second = sorted((run.path / "checkpoints").iterdir())
    second.write_bytes(damage(second.read_bytes()))
    assert run.latest_checkpoint() == (first, 1)
    assert capsys.readouterr().err == f"warning: {second} is damaged; looking for the one before\n"
    first.write_bytes(damage(first.read_bytes()))
    with pytest.raises(UserError, match=r"every checkpoint in .* is damaged"):
        run.latest_checkpoint()


def test_load_model(run, model):
    with pytest.raises(UserError, match=r"has no final\.keras: its training is unfinished.*recipes\.train"):
        run.load_model()
    run.save_model(model, run.final_file)
    np.testing.assert_array_equal(run.load_model().weights[0], model.weights[0])
    with pytest.raises(UserError, match=r"has no best\.keras"):
        run.load_model("best")
    run.final_file.write_bytes(truncate(run.final_file.read_bytes()))
    with pytest.raises(UserError, match=r"final\.keras is damaged"):
        run.load_model()
