"""Small helpers without a model in them: files, logs, processes, checkpoints."""
