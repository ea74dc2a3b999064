"""TensorFlow's converter, for a network that is folded."""

import keras
import tensorflow as tf
from tensorflow.lite.python.convert_phase import ConverterError

from recipes.command import quiet
from recipes.errors import UserError
from sb_keras.graph import only_input, tensor_names


def converted(model, names):
    """The bytes of a float32 file of a network, whose outputs are to bear these names.

    Raises:
        UserError: If LiteRT has no operator for something in the network.
    """
    try:
        with quiet():  # pages of MLIR
            return converter(_of_any_batch(model), names).convert()
    except ConverterError as error:
        lines = [line.strip() for line in str(error).splitlines()]
        missing = next((line for line in lines if line.startswith(("TF Select ops:", "Custom ops:"))), None)
        reason = (
            f"LiteRT has no {missing.partition(':')[2].strip()}"
            if missing
            else str(error)[:300].partition("\n")[0]
        )
        raise UserError(f"{model.name} cannot be converted: {reason}") from error


def converter(model, output_names):
    """TensorFlow's converter for a network, folded or not, whose outputs are to bear these names."""
    (source,), (name,) = model.inputs, tensor_names(model.input)
    image = tf.TensorSpec((1, *source.shape[1:]), tf.float32, name=name)

    @tf.function(input_signature=[image], autograph=False)
    def serve(image):
        return dict(zip(output_names, keras.tree.flatten(model(image)), strict=True))

    # The converter makes constants of the weights that it finds here.
    tracked = tf.train.Checkpoint(weights=[weight.value for weight in model.weights])
    return tf.lite.TFLiteConverter.from_concrete_functions([serve.get_concrete_function()], tracked)


def _of_any_batch(model):
    """The same network, whose file works too after the interpreter's `resize_tensor_input` to more images.

    Keras's Reshape and Flatten leave the size of the batch in the file, which is 1 there.
    """

    inner = {}  # what is called again is one model

    def call(operation, *args, **kwargs):
        if isinstance(operation, keras.Model):
            if operation not in inner:
                inner[operation] = _of_any_batch(operation)
            return inner[operation](*args, **kwargs)
        if isinstance(operation, keras.layers.Reshape | keras.layers.Flatten):
            x = only_input(args, kwargs)
            size = operation.compute_output_shape(x.shape)[1:]
            if None not in size and getattr(operation, "data_format", "channels_last") == "channels_last":
                return keras.ops.reshape(x, (-1, *size))
        return operation(*args, **kwargs)

    return keras.models.clone_model(model, clone_function=lambda layer: layer, call_function=call)
