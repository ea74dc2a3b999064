"""The parts of a recipe: network, images, optimizer."""

import dataclasses
import math

import sb_keras
from recipes.data.catalog import CATALOG, CHANGES
from recipes.errors import UserError, check_in_range, check_one_of

BUILDERS = {
    "classification": ("CifarMobileNetV2", "MobileNetV2", "MnasNet", "ShuffleNetV2"),
    "detection": ("SSDLite",),
}
# Of the blocks that `Attention.blocks` may name, the first and the last.
BLOCKS = {
    "CifarMobileNetV2": (1, 17),
    "MobileNetV2": (1, 17),
    "MnasNet": (2, 17),
    "ShuffleNetV2": (1, 16),
    "SSDLite": (1, 17),
}
OPTIMIZERS = ("sgd", "adamw")
FREEZES = ("batch_norm", "backbone", None)
DYNAMIC = ("dyconv", "condconv")  # kinds of attention whose kernels depend on the image
SCHEDULES = ("cosine", "linear", "constant")


@dataclasses.dataclass(frozen=True)
class Model:
    """Which network: the name of a builder of `sb_keras` and its arguments.

    Attributes:
        builder: Name of the builder.
        width_multiplier: The network's, or that of the detector's backbone.
        attention: The attention in its convolutions.
        dropout: Before a classifier's last layer.
        backbone: Run directory of a classifier, whose weights a detector begins with; None for random ones.
        weights: What the network, or a detector's backbone, begins with: `"imagenet"` or the path of a weight
            file, as the builders take it, or a run directory; None for random weights. What knows other
            classes begins anew.
        freeze: What stays as it began where the network began trained: `"batch_norm"`, the normalizations,
            which then normalize as they do at inference, or `"backbone"`, everything but the attention and
            what begins anew; None for nothing.
    """

    builder: str = "CifarMobileNetV2"
    width_multiplier: float = 0.35
    attention: sb_keras.Attention = sb_keras.Attention("sb")  # noqa: RUF009 (it is frozen)
    dropout: float = 0.0
    backbone: str | None = None
    weights: str | None = None
    freeze: str | None = None

    def __post_init__(self):
        check_one_of("model.builder", self.builder, [name for names in BUILDERS.values() for name in names])
        (first, last), blocks = BLOCKS[self.builder], self.attention.blocks
        if blocks is not None and (min(blocks) < first or max(blocks) > last):
            raise UserError(
                f"model.attention.blocks must be from {first} to {last}, which {self.builder} has. "
                f"Received: {','.join(map(str, blocks))}"
            )
        if self.backbone is not None:
            check_one_of("model.builder, with model.backbone,", self.builder, BUILDERS["detection"])
            if self.weights is not None:
                raise UserError(
                    "a detector begins with model.weights or with model.backbone. "
                    f"Received: {self.weights} and {self.backbone}"
                )
        check_one_of("model.freeze", self.freeze, FREEZES)
        if self.freeze == "backbone" and self.attention.kind in DYNAMIC:
            raise UserError(
                "model.freeze=backbone needs sb, static, se-block or se: dynamic convolutions weigh kernels "
                f"of the backbone, which are equal at first. Received: {self.attention.kind}"
            )
        check_in_range("model.width_multiplier", self.width_multiplier, above=0)
        check_in_range("model.dropout", self.dropout, least=0, below=1)

    @property
    def begins_trained(self):
        """Whether the network, or a detector's backbone, begins with weights that were trained."""
        return self.weights is not None or self.backbone is not None

    def build(self, image_size, classes):
        """Builds the classifier or detector for square RGB images of `image_size` pixels.

        Raises:
            UserError: If `weights` cannot be had or are those of another network, or no layer has attention.
        """
        shape, of_kind = (image_size, image_size, 3), {"attention": self.attention, "weights": self.weights}
        try:
            if self.builder in BUILDERS["detection"]:
                return getattr(sb_keras, self.builder)(
                    self.width_multiplier, classes=classes, input_shape=shape, **of_kind
                )
            return getattr(sb_keras, self.builder)(
                shape, self.width_multiplier, classes=classes, dropout=self.dropout, **of_kind
            )
        except ValueError as error:
            key = "model" if self.weights is None else f"model.weights={self.weights}"
            raise UserError(f"{key}: {error}") from error


@dataclasses.dataclass(frozen=True)
class Data:
    """Which images, and how they are augmented and normalized.

    Attributes:
        name: `"digits"` (scikit-learn's, nothing to download), `"cifar10"`, `"imagenet2012"` and `"voc"`
            (from tensorflow-datasets), `"tiny_imagenet"` (in `directory`, as it is unpacked),
            `"image_folder"` (your own pictures: `directory` has a folder a class, or `train`, `validation`
            and `test` folders of such folders), or, with boxes,
            `"voc_folder"` (LabelImg, CVAT), `"coco"` (CVAT, Label Studio, Roboflow), `"yolo"` (Ultralytics),
            `"csv"` (TFLite Model Maker, TensorFlow's Object Detection API).
        directory: Where the data lie. For TFDS's data sets None means TFDS's own place (`TFDS_DATA_DIR`).
        train_splits: What `"voc"` trains on: a year and a split as TFDS writes it, `"2007/train+validation"`.
        test_splits: What it is tested on.
        image_size: Height and width in pixels; of a detector 300 or a multiple of 32 from 160 to 640.
        augmentation: `"pad_crop"`, `"random_resized_crop"`, `"ssd"` (objects with boxes) or `"none"`. With
            `"random_resized_crop"` a test picture is the middle of one resized to 8/7 of `image_size`.
        pad: Zero pixels added on every side before a random crop back to `image_size`.
        flip: Whether to mirror half of the training images.
        rand_augment: Magnitude of RandAugment's two changes of every training image (Cubuk et al., 2020),
            0 for none, at most 30; 9 is torchvision's.
        color_jitter: Largest change of a training image's brightness, contrast and saturation, as a share of
            them (torchvision's `ColorJitter`).
        random_erasing: Share of the training images of which a rectangle is made gray (Zhong et al., 2020).
        mixup: α of the shares, of Beta(α, α), of two training images that are mixed (Zhang et al., 2018); 0
            for none.
        mean: Mean of each channel, of pixels in [0, 1].
        std: Standard deviation of each channel, of pixels in [0, 1].
        validation_fraction: Share of the training images that is held out for validation. With 0 the test
            images serve for it, as is usual for CIFAR-10.
        skip_bad: Whether to leave out pictures that cannot be decoded, and say so, instead of giving up.
        cache: Where an `"image_folder"`'s training pictures are kept once they are decoded: `"memory"`, or a
            folder, which is made; None for nowhere. Pictures longer than 4 · `image_size` are made smaller.
    """

    name: str = "digits"
    directory: str | None = None
    train_splits: tuple[str, ...] = ()
    test_splits: tuple[str, ...] = ()
    image_size: int = 32
    augmentation: str = "pad_crop"
    pad: int = 2
    flip: bool = True
    rand_augment: int = 0
    color_jitter: float = 0.0
    random_erasing: float = 0.0
    mixup: float = 0.0
    mean: tuple[float, ...] = (0.5, 0.5, 0.5)
    std: tuple[float, ...] = (0.5, 0.5, 0.5)
    validation_fraction: float = 0.1
    skip_bad: bool = False
    cache: str | None = None

    def __post_init__(self):
        check_one_of("data.name", self.name, CATALOG)
        entry = CATALOG[self.name]
        check_in_range("data.image_size", self.image_size, least=32)
        suited = [name for name in CATALOG if self.augmentation in CATALOG[name].augmentations]
        if suited and entry.task not in {CATALOG[name].task for name in suited}:
            raise UserError(
                f"the recipe is of another task: data.name must be one of {', '.join(suited)}, as "
                f"data.augmentation is {self.augmentation}. Received: {self.name}, which is for {entry.task}"
            )
        check_one_of(f"data.augmentation of {self.name}", self.augmentation, entry.augmentations)
        if entry.image_sizes is not None and self.image_size not in entry.image_sizes:
            *most, last = map(str, entry.image_sizes)
            expected = f"{', '.join(most)} or {last}" if most else last
            raise UserError(f"data.image_size of {self.name} must be {expected}. Received: {self.image_size}")
        check_in_range("data.pad", self.pad, least=0)
        check_in_range("data.rand_augment", self.rand_augment, least=0, below=31)
        check_in_range("data.color_jitter", self.color_jitter, least=0, below=1)
        check_in_range("data.random_erasing", self.random_erasing, least=0, below=1)
        check_in_range("data.mixup", self.mixup, least=0)
        for key in CHANGES:
            if getattr(self, key) and entry.task != "classification":
                raise UserError(f"data.{key} is for classifiers. Received: {getattr(self, key)}")
        check_in_range("data.validation_fraction", self.validation_fraction, least=0, below=1)
        for key, values in (("data.mean", self.mean), ("data.std", self.std)):
            if len(values) != 3:
                raise UserError(f"{key} must be three numbers, one a channel. Received: {values}")
        for mean, std in zip(self.mean, self.std, strict=True):
            check_in_range("data.mean", mean)
            check_in_range("data.std", std, above=0)

    @property
    def whole_size(self):
        """Height and width in pixels of a whole test picture, of which a network sees the middle.

        Where training pictures are parts, ImageNet's way: 256×256, the middle 224×224 (paper, section 5.1).
        """
        return (
            round(self.image_size * 256 / 224)
            if self.augmentation == "random_resized_crop"
            else self.image_size
        )

    @property
    def task(self):
        """What is learned from the data set: `"classification"` or `"detection"`."""
        return CATALOG[self.name].task


@dataclasses.dataclass(frozen=True)
class Optimizer:
    """SGD as PyTorch defines it, or AdamW, with a learning rate that changes from epoch to epoch.

    Attributes:
        learning_rate: That of the first epoch, or of the first one after the warm-up.
        name: `"sgd"` or `"adamw"`.
        head_learning_rate: The same for the layers that begin anew where the others have `model.weights`: a
            classifier's last one, all of a detector's behind its backbone; None for the same.
        attention_learning_rate: The same for the attention: SB's and SE's layers, and what weighs a dynamic
            convolution's kernels. λ that begins with 0 in a trained network has a long way to go.
        momentum: Share of the last step that the next one keeps; of SGD.
        weight_decay: Factor of the weights that joins their gradient, with AdamW their update.
        schedule: `"cosine"`, `"linear"` (both end at 0) or `"constant"`.
        schedule_epochs: Epochs that it spans; None for those of the training. With more a training ends
            before its schedule does, and can go on with more epochs later.
        warmup_epochs: Epochs at first in which the learning rate grows from nearly 0, step by step.
        ema_momentum: Momentum of a moving average of the weights, which is evaluated and saved in their
            place; 0 for none.
        clip_norm: Largest norm of all gradients together; None for no bound.
        accumulation_steps: Batches whose gradients are averaged before the weights change.
    """

    learning_rate: float = 0.1
    name: str = "sgd"
    head_learning_rate: float | None = None
    attention_learning_rate: float | None = None
    momentum: float = 0.9
    weight_decay: float = 5e-4
    schedule: str = "cosine"
    schedule_epochs: int | None = None
    warmup_epochs: int = 0
    ema_momentum: float = 0.0
    clip_norm: float | None = None
    accumulation_steps: int = 1

    def __post_init__(self):
        check_one_of("optimizer.name", self.name, OPTIMIZERS)
        check_in_range("optimizer.learning_rate", self.learning_rate, above=0)
        for key in ("head_learning_rate", "attention_learning_rate"):
            if getattr(self, key) is not None:
                check_in_range(f"optimizer.{key}", getattr(self, key), above=0)
        check_in_range("optimizer.warmup_epochs", self.warmup_epochs, least=0)
        check_in_range("optimizer.momentum", self.momentum, least=0, below=1)
        check_in_range("optimizer.weight_decay", self.weight_decay, least=0)
        check_one_of("optimizer.schedule", self.schedule, SCHEDULES)
        if self.schedule_epochs is not None:
            check_in_range("optimizer.schedule_epochs", self.schedule_epochs, least=1)
        check_in_range("optimizer.ema_momentum", self.ema_momentum, least=0, below=1)
        if self.clip_norm is not None:
            check_in_range("optimizer.clip_norm", self.clip_norm, above=0)
        check_in_range("optimizer.accumulation_steps", self.accumulation_steps, least=1)

    def build(self, head=(), attention=()):
        """The optimizer itself; the names of layers are those of the learning rates of their own."""
        common = {
            "learning_rate": self.learning_rate,
            "use_ema": self.ema_momentum > 0,
            "ema_momentum": self.ema_momentum,
            "global_clipnorm": self.clip_norm,
            "gradient_accumulation_steps": self.accumulation_steps if self.accumulation_steps > 1 else None,
        }
        own = (head, self.head_learning_rate), (attention, self.attention_learning_rate)
        multipliers = {
            name: rate / self.learning_rate for names, rate in own if rate is not None for name in names
        }
        if multipliers:
            common["learning_rate_multipliers"] = multipliers
        if self.name == "adamw":
            return sb_keras.optimizers.AdamW(weight_decay=self.weight_decay, **common)
        return sb_keras.optimizers.SGD(
            momentum=self.momentum, coupled_weight_decay=self.weight_decay, **common
        )

    def learning_rate_at(self, epoch, epochs):
        """The learning rate of one epoch, counted from 0, as PyTorch's schedulers step, without warm-up."""
        span = self.schedule_epochs or epochs
        part = max(0, epoch - self.warmup_epochs) / (span - self.warmup_epochs)
        factor = {
            "cosine": (1 + math.cos(math.pi * part)) / 2,
            "linear": 1 - part,
            "constant": 1.0,
        }[self.schedule]
        return self.learning_rate * factor
