"""Searches for the best values of a recipe: spaces, bounds, keras-tuner, and what came out."""
