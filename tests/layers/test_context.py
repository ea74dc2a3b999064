import keras
import numpy as np
import pytest
import tensorflow as tf
from reference import images, to_numpy

from sb_keras.layers import GlobalContext, ShiftBalance, SqueezeExcite


def test_the_input_and_its_mean(rng):
    x = images(rng, 4, 5, 6, 3)
    same, average = GlobalContext()(x)
    np.testing.assert_array_equal(same, x)
    np.testing.assert_allclose(average, np.float64(x).mean((1, 2)), rtol=1e-5, atol=1e-6)


def test_gradient_is_the_sum_of_both_ways(rng):
    x, by_same, by_average = images(rng, 4, 5, 6, 3), images(rng, 4, 5, 6, 3), images(rng, 4, 3)
    tensor = tf.constant(x)
    with tf.GradientTape() as tape:
        tape.watch(tensor)
        same, average = GlobalContext()(tensor)
        loss = tf.reduce_sum(same * by_same) + tf.reduce_sum(average * by_average)
    expected = by_same + by_average[:, None, None] / 30
    np.testing.assert_allclose(to_numpy(tape.gradient(loss, tensor)), expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("cls", [ShiftBalance, SqueezeExcite])
@pytest.mark.parametrize("training", [False, True])
def test_attention_takes_either_the_map_or_its_average(rng, cls, training):
    trunk, x = images(rng, 4, 3, 2, 8), images(rng, 4, 6, 5, 3)
    of_map, of_average = cls(name="a"), cls(name="a")
    of_map.build([trunk.shape, x.shape])
    of_average.build([trunk.shape, (4, 3)])
    assert [w.path for w in of_map.weights] == [w.path for w in of_average.weights]
    for a, b in zip(of_map.weights, of_average.weights, strict=True):
        a.assign(rng.uniform(0.5, 1.5, a.shape))
        b.assign(a)
    _, average = GlobalContext()(x)
    np.testing.assert_allclose(
        of_average([trunk, average], training=training),
        of_map([trunk, x], training=training),
        rtol=1e-5,
        atol=1e-6,
    )


def test_a_map_of_rank_3_is_refused():
    trunk = np.ones((2, 4, 4, 3), "float32")
    with pytest.raises(ValueError, match=r"needs a feature map \(rank 4\) or its average \(rank 2\)"):
        ShiftBalance()([trunk, np.ones((2, 4, 3), "float32")])


def test_file_round_trip(tmp_path, rng):
    inputs = keras.Input((5, 6, 3))
    model = keras.Model(inputs, GlobalContext(name="context")(inputs))
    model.save(tmp_path / "model.keras")
    x = images(rng, 4, 5, 6, 3)
    loaded = keras.saving.load_model(tmp_path / "model.keras", safe_mode=True)
    for a, b in zip(loaded(x), model(x), strict=True):
        np.testing.assert_array_equal(to_numpy(a), to_numpy(b))
