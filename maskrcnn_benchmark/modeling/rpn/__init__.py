"""Proposal stages."""
