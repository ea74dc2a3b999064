"""Shows the programs in this folder: python -m tflite."""

from recipes.command import show_programs

show_programs("tflite")
