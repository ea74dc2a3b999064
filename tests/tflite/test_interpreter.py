"""Several interpreters at once: the same answers, in the same order, and few images in memory."""

import threading

import keras
import numpy as np
import pytest

from tflite.convert import convert
from tflite.interpreter import open_content, predict, run_all


@pytest.fixture(scope="module")
def content():
    inputs = keras.Input((8, 8, 3))
    x = keras.layers.Conv2D(6, 3, activation="relu")(inputs)
    outputs = keras.layers.Dense(4, activation="softmax")(keras.layers.GlobalAveragePooling2D()(x))
    return convert(keras.Model(inputs, outputs))


@pytest.mark.parametrize("jobs", [1, 2, 5])
def test_answers_are_those_of_one_interpreter_to_the_bit(content, jobs, rng):
    images = rng.normal(size=(23, 8, 8, 3)).astype("float32")
    expected = predict(open_content(content), images)
    interpreters = [open_content(content, threads=1) for _ in range(jobs)]
    np.testing.assert_array_equal(predict(interpreters, iter(images)), expected)


def test_each_interpreter_is_used_by_one_thread_at_a_time_and_images_are_read_when_they_are_due():
    busy, read, done = {"a": threading.Lock(), "b": threading.Lock()}, [], []

    def images():
        for number in range(50):
            read.append(number)
            assert len(read) - len(done) <= 6  # two at work, three that wait, and this one
            yield number

    def answer(name, image):
        assert busy[name].acquire(blocking=False)
        busy[name].release()
        return image * image

    for square in run_all(answer, ["a", "b"], images()):
        done.append(square)
    assert done == [number * number for number in range(50)]


def test_an_error_reaches_the_caller():
    def answer(_, image):
        if image == 3:
            raise ValueError("three")
        return image

    with pytest.raises(ValueError, match="three"):
        list(run_all(answer, [None, None], range(9)))
