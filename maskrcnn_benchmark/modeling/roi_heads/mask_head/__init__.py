"""The mask head: plain (Mask R-CNN) or guided by spatial attention (CenterMask's SAG-Mask)."""
