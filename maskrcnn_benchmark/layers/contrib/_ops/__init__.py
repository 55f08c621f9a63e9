"""Registration of those operators."""
