"""Plain PyTorch twins of those operators."""
