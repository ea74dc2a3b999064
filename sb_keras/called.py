"""TensorFlow functions that are traced once for tensors of all shapes, and stay calls in a graph."""

import tensorflow as tf


def called(function, signature):
    """A function that is a call in a graph: TensorFlow would copy its operations into it.

    Args:
        function: Of tensors, to tensors. All that it gives must be used: of a call with an output that nobody
            reads, TensorFlow's graph optimizer makes a function of its own.
        signature: Their `TensorSpec`s, nested as the arguments are.
    """
    return tf.function(function, signature, autograph=False, experimental_attributes={"_noinline": True})
