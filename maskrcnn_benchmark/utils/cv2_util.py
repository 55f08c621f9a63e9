"""OpenCV's search for outlines, where scripts for the original look for it."""

from cv2 import findContours

__all__ = ["findContours"]
