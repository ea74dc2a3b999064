"""A recipe: everything that decides how a network is trained, as one frozen value."""

import dataclasses
import json
import pathlib

from recipes.compression import Compression
from recipes.effects import check_effects
from recipes.errors import UserError, check_in_range, check_one_of
from recipes.fields import flat_items, from_values, replace
from recipes.settings import BUILDERS, Data, Model, Optimizer

CLASS_WEIGHTS = ("balanced", None)
PRECISIONS = ("float32", "mixed_bfloat16", "mixed_float16")


@dataclasses.dataclass(frozen=True)
class Recipe:
    """Everything that decides how a network is trained.

    Attributes:
        name: Name of the recipe.
        model: The network.
        data: The images.
        optimizer: The optimizer and its schedule.
        batch_size: Images a step, over all devices.
        epochs: Passes over the training images.
        steps_per_epoch: Steps after which an epoch ends early; None for all images.
        seed: Seed of weights, order, augmentation and dropout.
        precision: Keras dtype policy.
        label_smoothing: Share of a label that is spread evenly over all classes.
        class_weights: `"balanced"` has every class weigh the same in the loss, however many pictures it has;
            None has every picture weigh the same.
        early_stopping_epochs: Epochs without a better validation metric after which the training ends, with
            the weights of the best one; None for none.
        synchronized_batch_norm: Whether several devices normalize by the statistics of the whole batch
            instead of each by those of its part.
        steps_per_execution: Training steps in one call of TensorFlow; saves Python's share of small ones.
        temperature_epochs: Epochs in which DyConv's temperature falls to 1; 0 keeps it (the paper's way).
        compression: What `tflite.compress` does after the training.
    """

    name: str
    model: Model = Model()
    data: Data = Data()
    optimizer: Optimizer = Optimizer()
    batch_size: int = 128
    epochs: int = 200
    steps_per_epoch: int | None = None
    seed: int = 0
    precision: str = "float32"
    label_smoothing: float = 0.0
    class_weights: str | None = None
    early_stopping_epochs: int | None = None
    synchronized_batch_norm: bool = False
    steps_per_execution: int = 1
    temperature_epochs: int = 0
    compression: Compression = Compression()

    def __post_init__(self):
        for field in ("batch_size", "epochs"):
            check_in_range(field, getattr(self, field), least=1)
        if self.steps_per_epoch is not None:
            check_in_range("steps_per_epoch", self.steps_per_epoch, least=1)
        check_in_range("seed", self.seed, least=0, below=2**31)
        check_one_of("precision", self.precision, PRECISIONS)
        check_in_range("label_smoothing", self.label_smoothing, least=0, below=1)
        check_in_range("steps_per_execution", self.steps_per_execution, least=1)
        check_one_of("class_weights", self.class_weights, CLASS_WEIGHTS)
        if self.early_stopping_epochs is not None:
            check_in_range("early_stopping_epochs", self.early_stopping_epochs, least=1)
        span = self.optimizer.schedule_epochs or self.epochs
        if span < self.epochs:
            raise UserError(
                f"optimizer.schedule_epochs must be at least epochs, {self.epochs}. Received: {span}"
            )
        if self.optimizer.warmup_epochs >= span:
            raise UserError(
                f"epochs must be more than optimizer.warmup_epochs, {self.optimizer.warmup_epochs}. "
                f"Received: {self.epochs}; optimizer.warmup_epochs=0 does without"
            )
        for key in ("label_smoothing", "class_weights"):
            if getattr(self, key) and self.data.task != "classification":
                raise UserError(f"{key} is for classifiers. Received: {getattr(self, key)}")
        check_in_range("temperature_epochs", self.temperature_epochs, least=0)
        builders = BUILDERS[self.data.task]
        check_one_of(f"model.builder, with data.name={self.data.name},", self.model.builder, builders)

    def steps(self, count):
        """Number of steps in an epoch of so many training images; the last batch is perhaps smaller.

        Raises:
            UserError: If there are too few images for a batch, or for the steps that the recipe asks for.
        """
        if self.batch_size > count:
            raise UserError(
                f"batch_size must be at most {count}, the number of training images. "
                f"Received: {self.batch_size}"
            )
        available = -(-count // self.batch_size)
        if self.steps_per_epoch is not None and self.steps_per_epoch > available:
            raise UserError(
                f"steps_per_epoch must be at most {available}: {count} training images in batches of "
                f"{self.batch_size}. Received: {self.steps_per_epoch}"
            )
        steps, at_once = self.steps_per_epoch or available, self.steps_per_execution
        if steps % at_once:  # Keras would go on into the next epoch
            raise UserError(
                f"steps_per_execution must divide the {steps} steps of an epoch. Received: {at_once}"
            )
        return steps

    def to_json(self):
        return json.dumps(dataclasses.asdict(self), indent=2) + "\n"

    @classmethod
    def from_json(cls, text):
        """Reads what `to_json` wrote.

        Raises:
            UserError: If the text is not JSON, or a key is unknown, missing or of a wrong type.
        """
        try:
            values = json.loads(text)
        except (ValueError, RecursionError) as error:  # also of integers of thousands of digits, and nesting
            raise UserError(f"not a recipe: {error}") from error
        _add_new_keys(values)
        return from_values(cls, values)

    @classmethod
    def read(cls, path):
        """Reads a recipe's JSON file.

        Raises:
            UserError: As `from_json`, with the path, or if the file cannot be read.
        """
        try:
            return cls.from_json(pathlib.Path(path).read_text(encoding="utf-8-sig"))
        except OSError as error:
            raise UserError(f"cannot read {path}: {error.strerror}") from error
        except (UserError, UnicodeDecodeError) as error:
            raise UserError(f"{path}: {error}") from error

    def override(self, assignments, idle=False):
        """Applies `key=value` strings, as `--set` takes them, for example `model.width_multiplier=0.5`.

        Of two with the same key, the last one counts; otherwise their order is of no effect.

        Args:
            assignments: The strings.
            idle: Whether values may be set that have no effect beside the others, λ of a static network.

        Raises:
            UserError: If a key is unknown or has no effect, or a value is of a wrong type or out of range.
        """
        texts = {}
        for assignment in assignments:
            key, equals, text = assignment.partition("=")
            if not equals:
                raise UserError(f"--set takes key=value. Received: {assignment!r}")
            texts[key] = text
        changed = replace(self, texts)
        if not idle:
            check_effects(changed, texts, self)
        return changed

    def differences(self, other):
        """The keys in which two recipes differ, each with both values."""
        mine, others = dict(flat_items(self)), dict(flat_items(other))
        return [(key, value, others[key]) for key, value in mine.items() if value != others[key]]


def short_names(keys):
    """The last words of some keys, as many as no other key of a recipe ends in."""
    known = [key for key, _ in flat_items(Recipe(""))]

    def shortened(key):
        words = key.split(".")
        ends = (".".join(words[start:]) for start in reversed(range(len(words))))
        return next((end for end in ends if sum(f".{k}".endswith(f".{end}") for k in known) < 2), key)

    return [shortened(key) for key in keys]


def in_words(differences):
    """What `Recipe.differences` of a directory's recipe and a given one found, for a complaint."""
    return "; ".join(f"{key} is {theirs!r} there, {ours!r} here" for key, theirs, ours in differences)


def _add_new_keys(values):
    """Gives a recipe that was written before there were these keys what they stand for now."""
    if not isinstance(values, dict):
        return
    new = {
        "model": {"backbone": None, "weights": None, "freeze": None},
        "data": {
            "train_splits": [],
            "test_splits": [],
            "augmentation": "pad_crop",
            "rand_augment": 0,
            "color_jitter": 0.0,
            "random_erasing": 0.0,
            "mixup": 0.0,
            "skip_bad": False,
            "cache": None,
        },
        "optimizer": {
            "name": "sgd",
            "head_learning_rate": None,
            "attention_learning_rate": None,
            "schedule_epochs": None,
            "warmup_epochs": 0,
            "ema_momentum": 0.0,
            "clip_norm": None,
            "accumulation_steps": 1,
        },
    }
    for key, defaults in new.items():
        if isinstance(values.get(key), dict):
            values[key] = {**defaults, **values[key]}
    if isinstance(values.get("model"), dict) and isinstance(values["model"].get("attention"), dict):
        values["model"]["attention"].setdefault("blocks", None)
    values.setdefault("compression", dataclasses.asdict(Compression()))
    for key, default in (
        ("label_smoothing", 0.0),
        ("class_weights", None),
        ("early_stopping_epochs", None),
        ("synchronized_batch_norm", False),
        ("steps_per_execution", 1),
    ):
        values.setdefault(key, default)
