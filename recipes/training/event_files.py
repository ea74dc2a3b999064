"""Event files for TensorBoard, which TensorFlow writes: losses, metrics, and histograms of λ."""

# pyright: reportOptionalMemberAccess=false

import keras

import sb_keras

if keras.backend.backend() == "tensorflow":
    import tensorflow as tf


def callbacks(directory):
    """The callbacks that write event files into a directory; none where Keras does not run on TensorFlow."""
    if keras.backend.backend() != "tensorflow":
        return []
    losses = keras.callbacks.TensorBoard(str(directory), write_graph=False)
    return [losses, LambdaHistograms(directory / "train")]


class LambdaHistograms(keras.callbacks.Callback):
    """Writes a histogram of λ of every Shift-and-Balance layer to TensorBoard, an epoch each.

    Args:
        directory: Where TensorBoard's event files go.
    """

    def __init__(self, directory):
        super().__init__()
        self.directory = str(directory)

    def on_train_begin(self, logs=None):
        self._writer = tf.summary.create_file_writer(self.directory)

    def on_epoch_end(self, epoch, logs=None):
        with self._writer.as_default(step=epoch):
            for layer in self.model.layers:
                if isinstance(layer, sb_keras.layers.ShiftBalance):
                    tf.summary.histogram(f"lambda/{layer.name}", keras.ops.convert_to_numpy(layer.lambda_))
        self._writer.flush()  # so that nothing is lost if the training is killed

    def on_train_end(self, logs=None):
        self._writer.close()
