"""Random numbers for the pictures of a batch: functions of the seed and of a picture's place in it alone."""

import dataclasses
from typing import Any

import tensorflow as tf

_EXPERIMENTAL: Any = tf.random.experimental  # pyright: ignore[reportAttributeAccessIssue]


def fold_in(seed, number):
    """Two integers that are a function of two others and of a number."""
    return _EXPERIMENTAL.stateless_fold_in(tf.cast(tf.stack(seed), tf.int64), number)


def shuffled(values, seed):
    """The values in another order, the same for the same seed (two integers)."""
    return _EXPERIMENTAL.stateless_shuffle(values, seed=tf.cast(tf.stack(seed), tf.int64))


@dataclasses.dataclass(frozen=True)
class Draws:
    """Draws numbers for all pictures of a batch, or for some: theirs do not depend on who has the others.

    Attributes:
        seed: Two integers; the same seed gives the same numbers.
        count: How many pictures the whole batch has.
        rows: Which of them are here, (some,); None for all.
    """

    seed: Any
    count: Any
    rows: Any = None

    def uniform(self, shape, low: Any = 0, high: Any = 1, dtype: Any = tf.float32):
        """Uniform numbers; None in the shape stands where there is an entry for every picture."""
        low, high = (tf.cast(bound, dtype) for bound in (low, high))
        return self._of_rows(shape, lambda s: tf.random.stateless_uniform(s, self._key, low, high, dtype))

    def gamma(self, shape, alpha):
        """Numbers of the gamma distribution, in double precision; the shape as of `uniform`."""
        return self._of_rows(
            shape, lambda s: tf.random.stateless_gamma(s, self._key, alpha, dtype=tf.float64)
        )

    def seeds(self):
        """A seed for every picture, (count, 2)."""
        return self._of_rows((None,), lambda _: _EXPERIMENTAL.stateless_split(self._key, self.count))

    def split(self):
        """Two others, with seeds of their own."""
        return [dataclasses.replace(self, seed=seed) for seed in tf.unstack(tf.random.split(self._key, 2))]

    def fold_in(self, number):
        """Another one, with a seed that is a function of this one's and of a number."""
        return dataclasses.replace(self, seed=fold_in(self._key, number))

    @property
    def _key(self):
        return tf.cast(tf.stack(self.seed), tf.int64)

    def _of_rows(self, shape, draw):
        axis = shape.index(None)
        values = draw(tf.stack([*shape[:axis], self.count, *shape[axis + 1 :]]))
        return values if self.rows is None else tf.gather(values, self.rows, axis=axis)
