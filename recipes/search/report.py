"""What came out of a search: a table, a CSV file, and the scores against the first of its keys."""

from dataclasses import dataclass

import numpy as np

from recipes import files
from recipes.plots import new_figure, save
from sb_keras.table import format_table


@dataclass(frozen=True)
class Trial:
    """One trial.

    Attributes:
        trial: Its number, as text.
        values: What was tried, by key.
        epochs: How many epochs it was trained for.
        scores: The validation accuracy, or a detector's mean average precision, of each seed; empty if it
            failed.
        reason: Why it failed.
    """

    trial: str
    values: dict
    epochs: int
    scores: tuple[float, ...]
    reason: str


def trial_rows(tuner, space):
    """The trials of a search, the best first and those that failed last."""
    rows = []
    for trial in tuner.oracle.trials.values():
        values = trial.hyperparameters.values
        results = [run.result for run in tuner.runs(trial.trial_id)]
        finished = trial.status == "COMPLETED" and all(results)
        scores = tuple(result[tuner.oracle.objective.name] for result in results) if finished else ()
        # keras-tuner's message ends with the exception, "module.Class: text".
        reason = (
            "" if finished else (trial.message or trial.status).strip().splitlines()[-1].partition(": ")[2]
        )
        epochs = values.get("tuner/epochs", tuner.recipe.epochs)
        rows.append(Trial(trial.trial_id, {key: values[key] for key in space}, epochs, scores, reason))
    return sorted(rows, key=lambda row: -np.mean(row.scores) if row.scores else np.inf)


def table(keys, rows, metric):
    """The trials as text."""
    names = [key.rpartition(".")[2] for key in keys]
    head = ("trial", *names, "epochs", f"{metric.replace('_', ' ')} / %", "±", "")
    cells = []
    for row in rows:
        scores = 100 * np.array(row.scores)
        mean = f"{scores.mean():.2f}" if row.scores else "failed"
        spread = f"{scores.std(ddof=1):.2f}" if len(scores) > 1 else ""
        cells.append((row.trial, *map(str, row.values.values()), str(row.epochs), mean, spread, row.reason))
    return format_table(head, cells, "<" + "<" * len(keys) + ">>><")


def write_csv(path, keys, rows, metric):
    """Writes the trials, one line for each seed, or for a trial that failed."""
    head = ("trial", *keys, "epochs", "run", f"validation_{metric}", "reason")
    lines = [
        (row.trial, *row.values.values(), row.epochs, run, score, row.reason)
        for row in rows
        for run, score in enumerate(row.scores or ("",))
    ]
    files.write_csv(path, head, lines)


def plot(key, rows, metric, title, path):
    """Draws the scores against one key: mean and standard deviation over all runs with that value."""
    scores = {}
    for row in rows:
        scores.setdefault(row.values[key], []).extend(100 * score for score in row.scores)
    scores = {value: runs for value, runs in scores.items() if runs}
    numeric = all(_is_number(value) for value in scores)
    order = sorted(scores, key=float) if numeric else sorted(scores, key=str)
    labels = [str(value) for value in order]
    figure, ((axes,),) = new_figure(size=(6, 4))
    for position, value in enumerate(order):
        axes.plot([position] * len(scores[value]), scores[value], ".", color="silver", zorder=1)
    spread = [float(np.std(scores[value], ddof=1)) if len(scores[value]) > 1 else 0.0 for value in order]
    axes.errorbar(
        range(len(order)), [float(np.mean(scores[value])) for value in order], spread, fmt="o", capsize=4
    )
    axes.set_xticks(range(len(order)), labels)
    axes.set(title=title, xlabel=key, ylabel=f"validation {metric.replace('_', ' ')} / %")
    save(figure, path)


def _is_number(value):
    try:
        float(value)
    except (TypeError, ValueError):
        return False
    return True
