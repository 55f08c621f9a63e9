"""Training and inference: the loops around a model, and what they need to start."""
