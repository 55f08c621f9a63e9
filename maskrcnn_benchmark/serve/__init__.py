"""A trained model behind HTTP: one page for people, one address for programs."""
