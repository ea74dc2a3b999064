"""Which attention a network has and where: the dataclass that builders take. Imports no backend."""

import dataclasses

from sb_keras.arguments import (
    check_choice,
    check_finite,
    check_positive,
    check_positive_integer,
    check_positive_integers,
    check_rate,
)

GATES = ("tanh", "sigmoid", "softmax", "relu", "linear")
POSITIONS = ("expand", "depthwise", "project")
PLACEMENTS = ("conv", "norm")
_OWN_GATES = {
    "static": "linear",
    "se-block": "sigmoid",
    "se": "sigmoid",
    "sb": "tanh",
    "dyconv": "softmax",
    "condconv": "sigmoid",
}
KINDS = tuple(_OWN_GATES)


@dataclasses.dataclass(frozen=True)
class Attention:
    """The attention of a network: what a builder's `attention` argument takes.

    Args:
        kind: `"static"` (none), `"se-block"` (SE on each block's output), `"se"`, `"sb"`, `"dyconv"` or
            `"condconv"` (on convolutions).
        positions: The convolutions of each block that have it: `"expand"`, `"depthwise"`, `"project"`
            (C1, C2 and C3 of the paper's Table 5), at least one. Of no effect for
            `"static"` and `"se-block"`.
        placement: `"conv"` puts SB and SE between a convolution and its batch normalization, so that the
            pair replaces the convolution; `"norm"` puts them after the normalization. The paper does not
            say which.
        gate: `"tanh"`, `"sigmoid"`, `"softmax"`, `"relu"`, `"linear"`, or None for the kind's own: tanh
            for SB, sigmoid for SE and CondConv, softmax for DyConv.
        lambda_init: SB's initial λ (Table 8).
        hidden_multiplier: Multiplies the hidden units of the attention branch (Table 10). A fraction makes
            it smaller: the branch has most of an SB network's weights. At least one unit is left.
        dropout: Dropout rate on the hidden activations of the attention branch (Table 7).
        experts: Number of kernels of a dynamic convolution.
        temperature: Softmax temperature of DyConv.
        blocks: Numbers of the blocks that have it, as in the layers' names (`block1_…`), or None for all.
            MobileNetV2, on CIFAR-10 too, has 1 to 17, MnasNet 2 to 17, ShuffleNetV2's units count as 1 to 16.
            Of no effect for `"static"`.

    Raises:
        ValueError: If a field is unknown, empty or out of range.

    Example:

    ```python
    pointwise = sb_keras.Attention("sb", positions=("expand", "project"), lambda_init=0.05)
    model = sb_keras.CifarMobileNetV2(width_multiplier=0.35, attention=pointwise)
    ```
    """

    kind: str = "sb"
    positions: tuple[str, ...] = POSITIONS
    placement: str = "conv"
    gate: str | None = None
    lambda_init: float = 0.1
    hidden_multiplier: float = 1.0
    dropout: float = 0.0
    experts: int = 4
    temperature: float = 30.0
    blocks: tuple[int, ...] | None = None

    def __post_init__(self):
        check_choice("kind", self.kind, KINDS)
        positions = self.positions
        names = isinstance(positions, (list, tuple)) and all(p in POSITIONS for p in positions)
        if not (names and len(positions)):  # nowhere is what kind="static" says
            raise ValueError(
                f"`positions` must be a tuple of names out of {POSITIONS}. Received: positions={positions!r}"
            )
        # Their order means nothing, so that no two networks that are the same differ in it.
        object.__setattr__(self, "positions", tuple(p for p in POSITIONS if p in positions))
        check_choice("placement", self.placement, PLACEMENTS)
        if self.gate is not None:
            check_choice("gate", self.gate, GATES)
        check_finite("lambda_init", self.lambda_init)
        check_positive("hidden_multiplier", self.hidden_multiplier)
        check_rate("dropout", self.dropout)
        check_positive_integer("experts", self.experts)
        check_positive("temperature", self.temperature)
        if self.blocks is not None:
            object.__setattr__(self, "blocks", check_positive_integers("blocks", self.blocks))

    def by_block(self, positions):
        """What each block of a network has: this attention, or none where it is not among `blocks`.

        Args:
            positions: For every block's number which of `POSITIONS` it has.

        Returns:
            `{number: Attention}`.

        Raises:
            ValueError: If `blocks` names one that the network does not have, or there is no attention at all.
        """
        if self.kind == "static":
            return dict.fromkeys(positions, self)
        blocks = tuple(positions) if self.blocks is None else self.blocks
        if not set(blocks) <= set(positions):
            raise ValueError(
                f"`attention.blocks` must be numbers from {min(positions)} to {max(positions)}, which the "
                f"network's blocks have. Received: blocks={blocks}"
            )
        on_block = self.kind == "se-block"
        if not (on_block or any(set(self.positions) & set(positions[number]) for number in blocks)):
            raise ValueError(
                f"`attention.positions` must be some that the blocks {blocks} have. "
                f"Received: positions={self.positions}"
            )
        return {number: self if number in blocks else Attention("static") for number in positions}

    @property
    def effective_gate(self):
        """The gate that is built: `gate`, or the kind's own."""
        return self.gate or _OWN_GATES[self.kind]

    @classmethod
    def of(cls, attention, **fields):
        """Turns what a builder's `attention` argument takes, a kind or an `Attention`, into the latter.

        Args:
            attention: A kind or an `Attention`.
            **fields: The fields of a kind that are not to be the defaults.
        """
        if isinstance(attention, cls):
            return attention
        if isinstance(attention, str):
            return cls(attention, **fields)
        raise ValueError(
            f"`attention` must be an `Attention` or one of {KINDS}. Received: attention={attention!r}"
        )
