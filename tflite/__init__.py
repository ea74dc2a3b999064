"""From a trained run to a .tflite file, and what that file does."""

import recipes as recipes  # so that Ctrl-C ends also these programs in a line
