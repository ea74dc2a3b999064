"""Tests of folders that are not any more what a run directory was begun with."""

import json
import shutil

import numpy as np
import pytest
from folders import write_picture

from recipes import evaluate, report
from recipes.command import exit_code
from recipes.run_directory import RunDirectory
from recipes.training.monitoring import StopOnDivergence

pytestmark = [pytest.mark.long, pytest.mark.usefixtures("tiny_network", "eager_steps")]


def write(folder, names=("cat", "dog")):
    for label, name in enumerate(names):
        for number in range(8):
            write_picture(folder / name / f"{number}.png", 20 * number + label)


def settings(folder, epochs=1):
    return "data.name=image_folder", f"data.directory={folder}", "batch_size=4", f"epochs={epochs}"


def interrupt_at(monkeypatch, run_train, path, step, *arguments, **options):
    """Ends a training by Ctrl-C behind so many steps."""

    def interrupted(*args, **kwargs):
        nonlocal step
        step -= 1
        if not step:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(StopOnDivergence, "on_train_batch_end", interrupted)
        assert run_train(path, *arguments, **options) == 130


def test_a_class_is_renamed_before_anything_is_trained(tmp_path, run_train, monkeypatch):
    """The names of the second beginning count: those of the first one would exchange the labels."""
    write(tmp_path / "data")
    arguments = settings(tmp_path / "data")
    interrupt_at(monkeypatch, run_train, tmp_path / "run", 1, *arguments)
    run = RunDirectory(tmp_path / "run")
    assert run.classes == ("cat", "dog")
    (tmp_path / "data" / "dog").rename(tmp_path / "data" / "beagle")
    assert run_train(run.path, *arguments) == 0
    assert run.classes == tuple(run.result["classes"]) == ("beagle", "cat")


def test_a_class_is_renamed_within_the_first_epoch(tmp_path, run_train, monkeypatch, capsys):
    """What is half trained knows the other names."""
    write(tmp_path / "data")
    arguments = settings(tmp_path / "data")
    options = ("--checkpoint-minutes", "0.00001")
    interrupt_at(monkeypatch, run_train, tmp_path / "run", 2, *arguments, options=options)
    run = RunDirectory(tmp_path / "run")
    assert run.snapshot_file.is_file()
    assert not run.has_checkpoints
    (tmp_path / "data" / "dog").rename(tmp_path / "data" / "beagle")
    assert run_train(run.path, *arguments) == 2
    assert "trained with the classes cat, dog; the data have beagle, cat" in capsys.readouterr().err
    (tmp_path / "data" / "beagle").rename(tmp_path / "data" / "dog")
    assert run_train(run.path, *arguments) == 0


def test_other_pictures_are_told(tmp_path, run_train, capsys):
    """Of nine cats others are held out than of eight: they have been trained with."""
    write(tmp_path / "data")
    arguments = settings(tmp_path / "data")
    assert run_train(tmp_path / "run", *arguments) == 0
    run = RunDirectory(tmp_path / "run")
    assert exit_code(lambda: evaluate.main([str(run.path)])) == 0
    assert "warning" not in capsys.readouterr().err
    write_picture(tmp_path / "data" / "cat" / "9.png")
    assert exit_code(lambda: evaluate.main([str(run.path)])) == 0
    message = (
        f"warning: the pictures are not those that {run.path} was begun with (10 training, 2 validation, 4 "
        "test; now 11 training, 2 validation, 4 test): some of the validation and test pictures may have "
        "been trained with\n"
    )
    assert message in capsys.readouterr().err
    # As many, but another one.
    (tmp_path / "data" / "cat" / "3.png").unlink()
    assert exit_code(lambda: evaluate.main([str(run.path)])) == 0
    assert "was begun with (10 training, 2 validation, 4 test; now 10 training" in capsys.readouterr().err


def test_own_test_pictures_were_not_trained_with(tmp_path, run_train, capsys):
    for name in ("train", "test"):
        write(tmp_path / "data" / name)
    arguments = (*settings(tmp_path / "data"), "data.validation_fraction=0")
    assert run_train(tmp_path / "run", *arguments) == 0
    write_picture(tmp_path / "data" / "train" / "cat" / "9.png")
    capsys.readouterr()
    assert exit_code(lambda: evaluate.main([str(tmp_path / "run")])) == 0
    assert "(16 training, 16 validation and test; now 17 training, 16 validation and test)\n" in (
        capsys.readouterr().err
    )


def test_a_moved_folder_has_the_same_pictures(tmp_path, run_train, capsys):
    write(tmp_path / "data")
    assert run_train(tmp_path / "run", *settings(tmp_path / "data")) == 0
    (tmp_path / "data").rename(tmp_path / "moved")
    file = tmp_path / "run" / "recipe.json"
    recipe = json.loads(file.read_text())
    recipe["data"]["directory"] = str(tmp_path / "moved")
    file.write_text(json.dumps(recipe))
    capsys.readouterr()
    assert exit_code(lambda: evaluate.main([str(tmp_path / "run")])) == 0
    assert "warning" not in capsys.readouterr().err


def test_a_run_of_before_and_a_damaged_file(tmp_path, run_train, capsys):
    assert run_train(tmp_path / "run") == 0
    run = RunDirectory(tmp_path / "run")
    run.pictures_file.write_text("[]")
    assert exit_code(lambda: evaluate.main([str(run.path)])) == 2
    assert "pictures.json is damaged" in capsys.readouterr().err
    run.pictures_file.unlink()
    assert exit_code(lambda: evaluate.main([str(run.path)])) == 0
    assert "warning" not in capsys.readouterr().err


def test_a_report_of_a_run_that_was_ended_early_and_has_no_models(tmp_path, run_train, capsys):
    """Early stopping leaves fewer rows than the recipe has epochs; its weights need not be there any more."""
    write(tmp_path / "data")
    weights = tmp_path / "weights"
    assert run_train(weights, *settings(tmp_path / "data")) == 0
    values = [f"model.weights={weights}", "early_stopping_epochs=1", "optimizer.learning_rate=1e-9"]
    assert run_train(tmp_path / "run", *settings(tmp_path / "data", epochs=9), *values) == 0
    run = RunDirectory(tmp_path / "run")
    assert len(run.log) < 9
    for path in (*run.path.glob("*.keras"), *run.path.glob("checkpoints/*.keras")):
        path.unlink()
    shutil.rmtree(weights)
    capsys.readouterr()
    assert exit_code(lambda: report.main([str(run.path)])) == 0
    output = capsys.readouterr().out
    assert f" {len(run.log)}/9 " in output
    assert f"{100 * run.result['test_accuracy']:.2f}" in output
    assert np.isfinite(run.result["test_accuracy"])
