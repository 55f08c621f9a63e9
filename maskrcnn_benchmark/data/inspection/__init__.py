"""Looking for what is wrong, or strange, in annotated photos."""
