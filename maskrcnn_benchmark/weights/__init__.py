"""Weights: file formats, sources, names, checkpoints, and what a load reports."""
