"""The directory of a search: whose it is, which is looked at before Keras starts."""

import json
import pathlib

from recipes.errors import CannotWrite, UserError
from recipes.files import is_temporary, write_text
from recipes.recipe import Recipe, in_words


def most_trials(algorithm, trials):
    """How many trials a search makes at most; None for all that there are."""
    return trials or {"grid": None, "hyperband": None}.get(algorithm, 10)


def check(recipe, space, directory, algorithm, trials, seeds, bounds):
    """Looks, without writing, whether a directory is free or that of this search, or of fewer trials of it.

    The arguments are those of `recipes.search.tuner.search`.

    Raises:
        UserError: If it belongs to another search, is not empty and belongs to none, or is no directory.
        CannotWrite: If it cannot even be read.
    """
    if not str(directory):
        raise UserError("--run-dir must be a path. Received: an empty one")
    directory = pathlib.Path(directory)
    ours, theirs = _described(recipe, space, algorithm, trials, seeds, bounds), _claimed(directory)
    if theirs is None:
        return
    differences = Recipe.from_json(json.dumps(theirs.get("recipe"))).differences(recipe)
    if differences:
        raise UserError(f"{directory} belongs to a search with another recipe: {in_words(differences)}")
    different = [key for key in ours if ours[key] != theirs.get(key) and key not in ("recipe", "trials")]
    if different:
        listed = "; ".join(f"{key} is {theirs.get(key)} there, {ours[key]} here" for key in different)
        raise UserError(f"{directory} belongs to another search: {listed}")
    most, begun = most_trials(algorithm, trials), len(list(directory.glob("keras-tuner/trial_*")))
    if most is not None and most < begun:
        raise UserError(f"{directory} has {begun} trials already. Received: --trials {most}")


def claim(recipe, space, directory, algorithm, trials, seeds, bounds):
    """Makes a directory that of a search; arguments and errors are those of `check`."""
    check(recipe, space, directory, algorithm, trials, seeds, bounds)
    directory, ours = pathlib.Path(directory), _described(recipe, space, algorithm, trials, seeds, bounds)
    if ours != _claimed(directory):
        try:
            directory.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise CannotWrite(f"cannot write to {directory}: {error.strerror}") from error
        write_text(json.dumps(ours, indent=2) + "\n", directory / "search.json")


def _described(recipe, space, algorithm, trials, seeds, bounds):
    """What search.json holds."""
    settings = {"space": space, "algorithm": algorithm, "trials": trials, "seeds": seeds}
    settings["bounds"] = {cost.limit: most for cost, most in bounds}
    return {"recipe": json.loads(recipe.to_json()), **json.loads(json.dumps(settings))}


def _claimed(directory):
    """What the search.json of a directory holds; None for a free directory."""
    file = directory / "search.json"
    try:
        if file.is_file():
            return json.loads(file.read_text(encoding="utf-8"))
        if directory.exists() and not directory.is_dir():
            raise UserError(f"{directory} is not a directory; choose another --run-dir")
        if directory.is_dir() and any(not is_temporary(path) for path in directory.iterdir()):
            raise UserError(f"{directory} is not empty and has no search.json; choose another --run-dir")
    except OSError as error:
        raise CannotWrite(f"cannot read {directory}: {error.strerror}") from error
    except json.JSONDecodeError as error:
        raise UserError(f"{file} is damaged: {error}") from error
    return None
