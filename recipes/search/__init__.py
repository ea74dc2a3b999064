"""Searches for the best values of a recipe: spaces, costs, keras-tuner, and what came out."""
