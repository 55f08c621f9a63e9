"""Heads that look at one region of interest at a time."""
