"""From a trained run to a .tflite file, and what that file does."""
