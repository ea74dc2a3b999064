"""Measurements of speed and memory, `python -m benchmarks.NAME`; README.md explains the results."""
