import tensorflow as tf

from benchmarks.traffic import count


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
