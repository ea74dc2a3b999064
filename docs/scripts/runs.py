"""The runs of results/ as a table, and a card for every network of them."""

import collections
import dataclasses
import json
import pathlib
import statistics

from recipes import registry
from recipes.recipe import Recipe

ROOT = pathlib.Path(__file__).parents[2]
METRICS = {"test_accuracy": "accuracy", "test_mean_average_precision": "mean average precision"}
ELSEWHERE = ("data.directory", "model.weights", "model.backbone")  # paths of the machine


@dataclasses.dataclass(frozen=True)
class Run:
    """A folder with recipe.json and result.json: a training that ended."""

    path: pathlib.Path
    recipe: Recipe
    result: dict

    @property
    def place(self):
        return self.path.relative_to(ROOT).as_posix()

    @property
    def metric(self):
        return next(key for key in METRICS if key in self.result)

    @property
    def score(self):
        return 100 * self.result[self.metric]

    @property
    def network(self):
        """What was trained, whatever the seed."""
        return self.path.parent, dataclasses.replace(self.recipe, seed=0)


def found():
    """All runs of results/, in the order of their folders."""
    return [
        Run(
            file.parent,
            Recipe.read(file.with_name("recipe.json")),
            json.loads(file.read_text(encoding="utf-8")),
        )
        for file in sorted((ROOT / "results").rglob("result.json"))
    ]


def networks():
    """Lists of runs that differ in the seed alone."""
    groups = collections.defaultdict(list)
    for run in found():
        groups[run.network].append(run)
    return list(groups.values())


def table():
    """A row a run."""
    lines = [
        "| run | test, % | data | network | attention | epochs | seed | parameters |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for run in found():
        recipe, model = run.recipe, run.recipe.model
        lines.append(
            f"| [{run.path.name}](cards.md#{anchor(run)}) | {run.score:.2f} | {recipe.data.name} "
            f"| {model.builder} ×{model.width_multiplier:g} | {model.attention.kind} "
            f"| {run.result['epochs']} | {recipe.seed} | {_count(run)} |"
        )
    return "\n".join(lines)


def anchor(run):
    """Of the card that has a run."""
    return run.place.removeprefix("results/").replace("/", "-").replace(".", "")


def cards():
    """A page with a card for every network."""
    lines = [
        "# Model cards",
        "",
        "What was trained, on what, how well it does, and what is not known of it: a card for every folder "
        "of `results/`, those of one recipe together. The trained weights are not in the repository; the "
        "commands make them again.",
    ]
    for runs in networks():
        lines += ["", *card(runs)]
    return "\n".join(lines) + "\n"


def card(runs):
    """What is known of runs that differ in the seed alone."""
    first, recipe = runs[0], runs[0].recipe
    classes, optimizer = first.result["classes"], recipe.optimizer
    named = ", ".join(classes[:12]) + (", …" if len(classes) > 12 else "")
    begins = "trained weights" if recipe.model.begins_trained else "random weights"
    return [
        f"## {first.place.removeprefix('results/')}",
        "",
        "".join(f'<a id="{anchor(run)}"></a>' for run in runs),
        "",
        f"- **Network**: {_network(recipe.model)}; {_count(first)} parameters; pictures of "
        f"{recipe.data.image_size}×{recipe.data.image_size} pixels; begins with {begins}",
        f"- **Data**: `{recipe.data.name}`, {len(classes)} classes: {named}",
        f"- **Training**: {first.result['epochs']} epochs, batches of {recipe.batch_size}, {optimizer.name}, "
        f"learning rate {optimizer.learning_rate:g}, {optimizer.schedule} schedule, augmentation "
        f"`{recipe.data.augmentation}`",
        f"- **Test {METRICS[first.metric]}**: {_scores(runs)}",
        f"- **Software**: {_versions(first.result)}",
        "- **Not known**: how it does on other pictures than these"
        + ("; how far seeds differ, as there is one" if len(runs) == 1 else ""),
        "",
        "```sh",
        _command(first),
        "```",
    ]


def _network(model):
    text = f"{model.builder} ×{model.width_multiplier:g}, attention `{model.attention.kind}`"
    if model.attention.kind == "sb":
        blocks = f" of blocks {', '.join(map(str, model.attention.blocks))}" if model.attention.blocks else ""
        text += f" at {', '.join(model.attention.positions)}{blocks}, λ from {model.attention.lambda_init:g}"
    return text


def _scores(runs):
    scores = [run.score for run in runs]
    if len(scores) == 1:
        return f"{scores[0]:.2f} % (seed {runs[0].recipe.seed})"
    listed = ", ".join(f"{run.score:.2f}" for run in runs)
    return f"{statistics.mean(scores):.2f} ± {statistics.stdev(scores):.2f} % ({listed})"


def _command(run):
    """What trains it again, up to the paths of the data."""
    named = registry.RECIPES.get(run.recipe.name)
    if named is None:
        return f".venv/bin/python -m recipes.train {run.place}/recipe.json --run-dir runs/{run.path.name}"
    changed = [
        f"--set {key}={_text(ours)}" for key, _, ours in named.differences(run.recipe) if key not in ELSEWHERE
    ]
    return " ".join(
        [f".venv/bin/python -m recipes.train {run.recipe.name} --run-dir runs/{run.path.name}", *changed]
    )


def _text(value):
    if isinstance(value, tuple):
        return ",".join(map(str, value))
    return str(value).lower() if isinstance(value, bool | None) else str(value)


def _count(run):
    count = run.result.get("parameters")
    return f"{count:,}" if count else "unknown"


def _versions(result):
    return ", ".join(f"{name} {version}" for name, version in result.get("versions", {}).items()) or "unknown"
