import tensorflow as tf

from benchmarks.traffic import count
from sb_keras.called import called


def test_counts_operations_and_bytes():
    @tf.function
    def step(x, y):
        tf.exp(x)  # which nothing needs
        return tf.reshape(x * y, (-1,)), tf.reduce_sum(y)

    small, large = tf.TensorSpec((10, 10)), tf.TensorSpec((1000, 1000))
    # A product reads two and writes one; a sum reads one and writes a number of 4 bytes (and knows its
    # axes by two numbers of 4 bytes).
    assert count(step.get_concrete_function(small, small).graph) == (2, 0, 3 * 400 + 400 + 4 + 8)
    assert count(step.get_concrete_function(large, large).graph)[:2] == (2, 2)


def test_what_is_assigned_is_needed():
    variable = tf.Variable(tf.zeros((10, 10)))

    @tf.function
    def step(x):
        variable.assign(tf.exp(x))
        return tf.constant(0.0)

    operations, _, moved = count(step.get_concrete_function(tf.TensorSpec((10, 10))).graph)
    assert (operations, moved) == (2, 400 + 400 + 400)


def test_called_functions_are_counted_with_the_sizes_of_the_call():
    double = called(lambda x: x + x, [tf.TensorSpec((None, None))])
    step = tf.function(lambda x: double(x) * 2.0)
    # The sum reads twice and writes once; the product reads a number too.
    expected = (2, 0, 3 * 400 + 400 + 4 + 400)
    assert count(step.get_concrete_function(tf.TensorSpec((10, 10))).graph) == expected


def test_bias_and_relu6_of_a_convolution_are_a_part_of_it():
    def step(x, kernel, bias):
        return tf.nn.relu6(tf.nn.bias_add(tf.nn.conv2d(x, kernel, 1, "SAME"), bias))

    specs = (tf.TensorSpec(shape) for shape in ((1, 4, 4, 2), (1, 1, 2, 3), (3,)))
    graph = tf.function(step).get_concrete_function(*specs).graph
    assert count(graph) == (1, 0, 4 * (4 * 4 * 2 + 2 * 3 + 4 * 4 * 3))
