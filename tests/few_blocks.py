"""The networks of this package with few blocks, for tests to which depth proves nothing."""

import contextlib
import dataclasses

import pytest

from sb_keras.models import mnasnet, mobilenet_v2, shufflenet_v2


@contextlib.contextmanager
def few_blocks():
    """Builds networks of one block a stage, and of a second, residual one where the first stage with two is.

    Every kind of block, width, stride and kernel size is still there.
    """
    with pytest.MonkeyPatch.context() as patch:
        for module, name in ((mobilenet_v2, "STAGES"), (mobilenet_v2, "CIFAR_STAGES"), (mnasnet, "STAGES")):
            patch.setattr(module, name, _shortened(getattr(module, name)))
        patch.setattr(shufflenet_v2, "REPEATS", (2, 1, 1))
        for stride, block in ((4, 4), (8, 5), (16, 7)):  # where SSDLite looks
            patch.setitem(mobilenet_v2.MOBILENET_V2_TAPS, stride, f"block{block}_expand_relu")
        yield


def _shortened(stages):
    first = next(number for number, stage in enumerate(stages) if stage.repeats > 1)
    return tuple(
        dataclasses.replace(stage, repeats=2 if number == first else 1) for number, stage in enumerate(stages)
    )
