"""What `tflite.compress` does with a trained network."""

import dataclasses

from recipes.errors import check_in_range


@dataclasses.dataclass(frozen=True)
class Compression:
    """How the trained network is fine-tuned while it is pruned, clustered or rounded to 8-bit integers.

    Attributes:
        epochs: Passes over the training images.
        steps_per_epoch: Steps after which an epoch ends early; None for all images.
        learning_rate: Adam's, at first; it falls to 0 on a cosine.
        sparsity: Share of the weights that pruning sets to zero in every layer.
        clusters: Number of different weights that clustering leaves every layer.
    """

    epochs: int = 3
    steps_per_epoch: int | None = None
    learning_rate: float = 1e-4
    sparsity: float = 0.5
    clusters: int = 16

    def __post_init__(self):
        check_in_range("compression.epochs", self.epochs, least=1)
        if self.steps_per_epoch is not None:
            check_in_range("compression.steps_per_epoch", self.steps_per_epoch, least=1)
        check_in_range("compression.learning_rate", self.learning_rate, above=0)
        check_in_range("compression.sparsity", self.sparsity, above=0, below=1)
        check_in_range("compression.clusters", self.clusters, least=2)
