"""Region proposal network: boxes without classes for two-stage detectors."""
