"""A web page that classifies pictures with a .tflite file, and what fills it."""
