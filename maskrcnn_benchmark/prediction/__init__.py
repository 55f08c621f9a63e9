"""A trained model run over photos, videos and cameras: what is read, drawn and written.

Nothing here needs PyTorch: a model is whatever gives ``Detections`` for an RGB photo.
"""
