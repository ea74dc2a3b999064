import numpy as np
import pytest
from reference import images

from sb_keras.layers import ChannelShuffle


def test_interleaves_the_groups():
    x = np.arange(6, dtype="float32").reshape(1, 1, 1, 6)
    assert ChannelShuffle(2)(x).numpy().ravel().tolist() == [0, 3, 1, 4, 2, 5]
    assert ChannelShuffle(3)(x).numpy().ravel().tolist() == [0, 2, 4, 1, 3, 5]


def test_is_undone_by_the_other_factor(rng):
    x = images(rng, 2, 3, 4, 6)
    np.testing.assert_array_equal(ChannelShuffle(3)(ChannelShuffle(2)(x)), x)


def test_wrong_arguments():
    with pytest.raises(ValueError, match=r"`groups` must be a positive integer. Received: groups=0"):
        ChannelShuffle(0)
    with pytest.raises(ValueError, match=r"multiple of groups=4. Received shape: \(2, 3, 3, 6\)"):
        ChannelShuffle(4)(np.ones((2, 3, 3, 6)))
