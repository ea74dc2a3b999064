"""Trains a network by a recipe; started again on an unfinished run directory, goes on where it stopped.

python -m recipes.train [RECIPE] [--set key=value ...] --run-dir DIR [--strategy STRATEGY]

STRATEGY is one-device, mirrored (all devices of this machine), multi-worker (several machines, see README.md
in this folder) or tpu.
"""

import os
import shlex
import sys

from recipes import pretrained, registry
from recipes.command import Parser, exit_code, interrupted, start_keras
from recipes.data.catalog import check
from recipes.errors import Terminated, UserError, check_in_range
from recipes.run_directory import RunDirectory
from recipes.tasks import task_of
from recipes.training import CHECKPOINT_MINUTES, STRATEGIES


def main(argv=None):
    parser = Parser("recipes.train", __doc__)
    parser.add_recipe(registry.DEFAULT)
    parser.add_set(registry.named(argv))
    parser.add_argument("--run-dir", metavar="DIR", required=True, help="where everything is written")
    parser.add_argument("--strategy", choices=STRATEGIES, default="one-device", help="tf.distribute strategy")
    parser.add_argument(
        "--checkpoint-minutes",
        type=float,
        metavar="N",
        help=f"how often there is a checkpoint within an epoch (default: {CHECKPOINT_MINUTES})",
    )
    parser.add_argument(
        "--dry-run",
        action="store_true",
        help="runs a few steps, says what the training takes, writes nothing",
    )
    args = parser.parse_args(argv)
    minutes = CHECKPOINT_MINUTES if args.checkpoint_minutes is None else args.checkpoint_minutes
    check_in_range("--checkpoint-minutes", minutes, least=0)
    if args.checkpoint_minutes is not None and args.strategy == "multi-worker":
        raise UserError(
            "--checkpoint-minutes is not for --strategy multi-worker: it has checkpoints of epochs only"
        )

    recipe = pretrained.follow(registry.find(args.recipe).override(args.set), args.set)
    run = RunDirectory(args.run_dir)
    run.check(recipe)
    if run.is_finished and run.recipe == recipe:
        print(f"{run.path} is finished already: {_score(recipe, run.result)}. Nothing was changed.")
        return 0
    check(recipe.data)
    if not run.has_checkpoints:
        pretrained.check(recipe)
        if remark := pretrained.remark(recipe):
            print(remark, file=sys.stderr)
    if args.strategy != "multi-worker" and run.path.is_dir():
        with run.locked():
            pass  # nobody else trains into it
    start_keras()
    from recipes.training.distribution import WorkerLost, strategy_of
    from recipes.training.loop import train
    from recipes.training.monitoring import Diverged

    strategy = strategy_of(args.strategy, recipe.batch_size)
    if args.dry_run:
        from recipes.training.pace import rehearse

        rehearse(recipe, strategy)
        return 0
    try:
        with parser.goes_on(argv):
            result = train(run, strategy, recipe, minutes)
    except Diverged as error:
        print(f"error: {error}; try a smaller optimizer.learning_rate", file=sys.stderr)
        return 1
    except WorkerLost as error:
        print(f"error: {error}", file=sys.stderr)
        _leave(1)
    except Terminated as error:
        if args.strategy == "multi-worker":
            _leave(interrupted(error))
        raise
    if result:
        print(f"{_score(recipe, result)}, in {run.path}")
        where = shlex.quote(str(run.path))
        print(f"next: python -m recipes.evaluate {where}; python -m tflite.convert {where} --out FILE.tflite")
    return 0


def _leave(code):
    """Ends the process at once: TensorFlow's own threads would wait for the other workers for minutes."""
    sys.stderr.flush()
    os._exit(code)


def _score(recipe, result):
    metric = task_of(recipe).metric
    return f"test {metric.replace('_', ' ')} {result[f'test_{metric}']:.4f}"


if __name__ == "__main__":
    sys.exit(exit_code(main))
