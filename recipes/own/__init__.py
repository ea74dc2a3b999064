"""Recipes for your own pictures."""
