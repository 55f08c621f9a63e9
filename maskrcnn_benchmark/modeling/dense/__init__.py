"""Dense detectors: what finds boxes at every place of the feature maps."""
