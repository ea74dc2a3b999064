"""Scores against what the networks cost: a table, a CSV file, a plot, and the Pareto front in them."""

import math
from dataclasses import dataclass

from recipes import files
from recipes.plots import new_figure, save
from recipes.recipe import short_names
from recipes.search.report import Trial, in_percent
from sb_keras.table import format_table


@dataclass(frozen=True)
class Point:
    """A trial and what its network costs.

    Attributes:
        trial: The trial.
        cost: The number.
        is_on_front: Whether no other trial has a better score at the same cost or less, or the same at less.
    """

    trial: Trial
    cost: float
    is_on_front: bool


def points_of(trials, costs):
    """The points of trials that did not fail, the cheapest first."""
    # Of equal costs the best score first, of equal scores too the first trial: the rest is beaten by it.
    order = sorted(zip(costs, trials, strict=True), key=lambda pair: (pair[0], -pair[1].score))
    points, best = [], -math.inf
    for cost, trial in order:
        points.append(Point(trial, cost, trial.score > best))
        best = max(best, trial.score)
    return points


def table(keys, points, metric, cost):
    """The points as text."""
    names = short_names(keys)
    spreads = any(len(point.trial.scores) > 1 for point in points)
    head = ("trial", *names, cost.label, f"{_words(metric)} / %", *(["±"] if spreads else []), "")
    rows = []
    for point in points:
        trial, values = point.trial, map(str, point.trial.values.values())
        spread = [in_percent(trial.deviation)] if spreads else []
        note = "front" if point.is_on_front else ""
        number = format(point.cost, cost.format)
        rows.append((trial.trial, *values, number, f"{100 * trial.score:.2f}", *spread, note))
    return format_table(head, rows, "<" + "<" * len(keys) + ">>" + ">" * spreads + "<")


def write_csv(path, keys, points, metric, cost):
    """Writes the points, one line for each, with the mean and standard deviation of its seeds."""
    head = ("trial", *keys, cost.key, f"validation_{metric}", "standard_deviation", "seeds", "front")
    rows = []
    for point in points:
        trial = point.trial
        row = (point.cost, trial.score, trial.deviation, len(trial.scores), int(point.is_on_front))
        rows.append((trial.trial, *trial.values.values(), *row))
    files.write_csv(path, head, rows)


def plot(keys, points, metric, cost, title, path):
    """Draws the scores against the cost, and the front as steps; the points on it say what was tried."""
    figure, ((axes,),) = new_figure(size=(7.0, 5.0), title=title)
    x, y = [point.cost for point in points], [100 * point.trial.score for point in points]
    spreads = [100 * point.trial.deviation for point in points]
    seeds = max(len(point.trial.scores) for point in points)
    axes.errorbar(x, y, spreads if seeds > 1 else None, fmt="o", markersize=4, capsize=3, label="trial")
    front = [point for point in points if point.is_on_front]
    axes.plot(
        [point.cost for point in front],
        [100 * point.trial.score for point in front],
        drawstyle="steps-post",
        color="tab:orange",
        label="front: no other one beats these in both",
    )
    for point in front:
        text = ", ".join(str(point.trial.values[key]) for key in keys)
        place = (point.cost, 100 * point.trial.score)
        axes.annotate(text, place, xytext=(4, 5), textcoords="offset points", fontsize=8)
    axes.set(xlabel=cost.label, ylabel=f"validation {_words(metric)} / %")
    axes.margins(x=0.15)
    figure.legend(loc="outside lower center", ncols=2, frameon=False)
    save(figure, path)


def _words(metric):
    return metric.replace("_", " ")
