"""Shows the programs in this folder: python -m recipes."""

from recipes.command import show_programs

show_programs("recipes")
