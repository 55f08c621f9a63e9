"""The mask-IoU head: predicts how good each mask is."""
