"""Pictures of detections, loss curves and reports."""

from maskrcnn_benchmark.visualization.contact_sheet import SheetPhoto, contact_sheet
from maskrcnn_benchmark.visualization.curves import plot_loss_curves
from maskrcnn_benchmark.visualization.draw import draw_instances

__all__ = ["SheetPhoto", "contact_sheet", "draw_instances", "plot_loss_curves"]
