"""Operators that no model here uses, kept for users' own models."""
