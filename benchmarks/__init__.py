"""Measurements of speed and memory: `python -m benchmarks.NAME`; benchmarks/README.md explains the results."""
