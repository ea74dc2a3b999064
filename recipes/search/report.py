"""What came out of a search: a table, a CSV file, and the scores against each of its keys."""

import math
from dataclasses import dataclass

import numpy as np

from recipes import files
from recipes.plots import new_figure, save
from recipes.recipe import short_names
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
        before: The trial that it went on from, with fewer epochs; None if it began anew.
    """

    trial: str
    values: dict
    epochs: int
    scores: tuple[float, ...]
    reason: str
    before: str | None = None

    @property
    def score(self):
        """The mean over the seeds."""
        return float(np.mean(self.scores))

    @property
    def deviation(self):
        """The standard deviation over the seeds; NaN of a single one."""
        return float(np.std(self.scores, ddof=1)) if len(self.scores) > 1 else math.nan


def trial_rows(tuner, space):
    """The trials of a search, the best first and those that failed last.

    Of Hyperband's the best is one of those with the most epochs: the others were in the middle of a schedule.
    """
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
        tried, before = {key: values[key] for key in space}, values.get("tuner/trial_id")
        rows.append(Trial(trial.trial_id, tried, epochs, scores, reason, before))
    return sorted(rows, key=lambda row: (not row.scores, -row.epochs, -row.score if row.scores else 0))


def standard_error(rows, pictures):
    """The standard error √(p (1 − p) / n) of the best accuracy p on n pictures: less is no difference."""
    best = max(row.score for row in trained_longest(rows))
    return math.sqrt(best * (1 - best) / pictures)


def trained_longest(rows):
    """The trials that did not fail and have the most epochs: the others are no rivals."""
    most = max((row.epochs for row in rows if row.scores), default=0)
    return [row for row in rows if row.scores and row.epochs == most]


def table(keys, rows, metric, error=None):
    """The trials as text; those within `error`, a standard error, of the best are marked as equal to it."""
    longest = trained_longest(rows)
    spreads = any(len(row.scores) > 1 for row in rows)
    names, shown = short_names(keys), _epochs(keys)
    head = ("trial", *names, *shown, f"{metric.replace('_', ' ')} / %", *(["±"] if spreads else []), "")
    best, cells = max((row.score for row in longest), default=0.0), []
    for row in rows:
        note = row.reason
        if row.scores and row is rows[0]:
            note = "best"
        elif row in longest and error is not None and best - row.score <= error:
            note = "equal to the best"
        if row.before is not None:
            note = f"{note}, goes on from {row.before}".removeprefix(", ")
        mean = f"{100 * row.score:.2f}" if row.scores else "failed"
        spread = [in_percent(row.deviation)] if spreads else []
        epochs = [str(row.epochs) for _ in shown]
        cells.append((row.trial, *map(str, row.values.values()), *epochs, mean, *spread, note))
    return format_table(head, cells, "<" + "<" * len(keys) + ">" * (len(shown) + 1 + spreads) + "<")


def _epochs(keys):
    """The column for all trials' epochs; where these were searched for it is there already."""
    return () if "epochs" in keys else ("epochs",)


def in_percent(deviation):
    """A standard deviation as text; nothing of a single seed, which has none."""
    return "" if math.isnan(deviation) else f"{100 * deviation:.2f}"


def write_csv(path, keys, rows, metric):
    """Writes the trials, one line for each seed, or for a trial that failed."""
    shown = _epochs(keys)
    head = ("trial", *keys, *shown, "run", f"validation_{metric}", "reason")
    lines = [
        (row.trial, *row.values.values(), *(row.epochs for _ in shown), run, score, row.reason)
        for row in rows
        for run, score in enumerate(row.scores or ("",))
    ]
    files.write_csv(path, head, lines)


def plot(keys, rows, metric, title, path, error=None):
    """Draws the scores against each key: a point a trial, with the standard deviation over its seeds.

    Args:
        keys: What was searched for; each has axes of its own.
        rows: The trials.
        metric: Name of the score.
        title: Title of the picture.
        path: The PNG file to write.
        error: A standard error; a band shows which trials are equal to the best. None for no band.
    """
    rows = [row for row in rows if row.scores]
    columns = min(len(keys), 3)
    lines = -(-len(keys) // columns)
    figure, grid = new_figure(lines, columns, (max(6, 4.5 * columns), 4 * lines), title, sharey=True)
    for axes in grid.flat[len(keys) :]:
        axes.set_axis_off()
    for key, axes in zip(keys, grid.flat, strict=False):
        _plot_key(key, rows, axes)
        if error is not None:
            best = 100 * rows[0].score
            axes.axhspan(best - 100 * error, best, color="gray", alpha=0.2, label="equal to the best")
        axes.set_xlabel(key)
    for axes in grid[:, 0]:
        axes.set_ylabel(f"validation {metric.replace('_', ' ')} / %")
    handles, labels = grid.flat[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=3, frameon=False)
    save(figure, path)


def _plot_key(key, rows, axes):
    numeric = all(_is_number(row.values[key]) for row in rows)
    order = sorted({row.values[key] for row in rows}, key=float if numeric else str)
    points = []
    for position, value in enumerate(order):
        trials = [row for row in rows if row.values[key] == value]
        # Side by side, since those of one value differ in others.
        points += zip(
            position + 0.6 * (np.arange(len(trials)) + 0.5) / len(trials) - 0.3, trials, strict=True
        )
    seeds = max(len(row.scores) for row in rows)
    spreads = [100 * row.deviation for _, row in points]
    axes.errorbar(
        [x for x, _ in points],
        [100 * row.score for _, row in points],
        spreads if seeds > 1 else None,
        fmt="o",
        markersize=4,
        capsize=3,
        label="trial" + (f", mean and deviation of {seeds} seeds" if seeds > 1 else ""),
    )
    labels = [str(value) for value in order]
    axes.set_xticks(range(len(order)), labels)
    if sum(map(len, labels)) > 40:
        axes.tick_params(axis="x", rotation=15)


def _is_number(value):
    try:
        float(value)
    except (TypeError, ValueError):
        return False
    return True
