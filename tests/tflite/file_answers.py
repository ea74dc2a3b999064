"""What a file answers, and that it is what Keras answers."""

import numpy as np
from ai_edge_litert.interpreter import Interpreter

# XNNPACK adds in another order than TensorFlow, with a rounding of 6e-8 in each of some ten layers.
SHALLOW = 1e-4


def run_tflite(content, images):
    """The only output for images that are run one by one."""
    runner = Interpreter(model_content=content, num_threads=2).get_signature_runner("serving_default")
    (name,) = runner.get_input_details()
    outputs = [runner(**{name: image[None]}) for image in images]
    return np.concatenate([next(iter(output.values())) for output in outputs])


def assert_same_answers(content, model, images, tolerance=SHALLOW, inputs=None):
    """`inputs`: what the model takes where that is something else than what the file takes."""
    expected = np.array(model(images if inputs is None else inputs))
    actual = run_tflite(content, images)
    np.testing.assert_allclose(actual, expected, rtol=0, atol=tolerance * np.abs(expected).max())
