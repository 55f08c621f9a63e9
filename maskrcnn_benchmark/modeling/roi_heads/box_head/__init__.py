"""The box head of the two-stage detectors: classes and better boxes for proposals."""
