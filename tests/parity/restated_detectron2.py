"""detectron2's rules for boxes, anchors, rois and keypoints, restated one at a time.

Corners are edges: a box from x1 to x2 is x2 - x1 wide. Takes nothing from the package, so that both
can only agree by saying the same.
"""

import math

import numpy as np
import torch
import torch.nn.functional as F

MAX_LOG_SCALE = math.log(1000 / 16)


def level_anchors(num_rows, num_columns, stride, sizes, ratios):
    """(L, 4) anchors around the corners of cells; of a cell size by size, then ratio by ratio."""
    found = []
    for row in range(num_rows):
        for column in range(num_columns):
            for size in sizes:
                for ratio in ratios:
                    width = math.sqrt(size * size / ratio)
                    height = width * ratio
                    x, y = column * stride, row * stride
                    found.append((x - width / 2, y - height / 2, x + width / 2, y + height / 2))
    return np.array(found)


def decode(codes, box, weights):
    """The corners that the codes lead to from a box."""
    x1, y1, x2, y2 = map(float, box)
    width, height = x2 - x1, y2 - y1
    dx, dy, dw, dh = (float(code) / weight for code, weight in zip(codes, weights, strict=True))
    center_x, center_y = x1 + width / 2 + dx * width, y1 + height / 2 + dy * height
    half_width = math.exp(min(dw, MAX_LOG_SCALE)) * width / 2
    half_height = math.exp(min(dh, MAX_LOG_SCALE)) * height / 2
    return (
        *(center_x - half_width, center_y - half_height),
        *(center_x + half_width, center_y + half_height),
    )


def clipped(box, image_hw):
    """The box with its corners moved into the image."""
    height, width = image_hw
    return [min(max(v, 0), limit) for v, limit in zip(box, (width, height) * 2, strict=True)]


def iou(one, other):
    """Of two boxes; 0 if both are empty."""
    width = min(one[2], other[2]) - max(one[0], other[0])
    height = min(one[3], other[3]) - max(one[1], other[1])
    common = max(width, 0) * max(height, 0)
    areas = [(box[2] - box[0]) * (box[3] - box[1]) for box in (one, other)]
    return common / max(sum(areas) - common, 1e-12)


def suppress(boxes, scores, groups, threshold):
    """Indices, best first, of the boxes that greedy suppression within each group leaves."""
    kept = []
    for candidate in np.argsort(-np.asarray(scores), kind="stable"):
        rivals = [other for other in kept if groups[other] == groups[candidate]]
        if all(iou(boxes[candidate], boxes[other]) <= threshold for other in rivals):
            kept.append(int(candidate))
    return kept


def pooling_level(box, finest, coarsest):
    """log2 of the stride of the map that a box is pooled from (FPN, equation 1)."""
    side = math.sqrt((box[2] - box[0]) * (box[3] - box[1]))
    return min(max(math.floor(4 + math.log2(side / 224 + 1e-8)), finest), coarsest)


def read_map(values, y, x):
    """(F,) of a map (F, H, W) between four cells, 0 outside."""
    height, width = values.shape[1:]
    if not (-1 <= y <= height and -1 <= x <= width):
        return torch.zeros(len(values))
    y, x = max(y, 0.0), max(x, 0.0)
    row, column = min(int(y), height - 1), min(int(x), width - 1)
    next_row, next_column = min(row + 1, height - 1), min(column + 1, width - 1)
    y, x = min(y, float(height - 1)), min(x, float(width - 1))
    down, right = y - row, x - column
    upper = (1 - right) * values[:, row, column] + right * values[:, row, next_column]
    lower = (1 - right) * values[:, next_row, column] + right * values[:, next_row, next_column]
    return (1 - down) * upper + down * lower


def align(values, box, stride, side):
    """(F, side, side) of a map (F, H, W): cells' centres are whole numbers, samples as needed."""
    x1, y1, x2, y2 = (value / stride - 0.5 for value in box)
    cell_height, cell_width = (y2 - y1) / side, (x2 - x1) / side
    rows, columns = math.ceil(cell_height), math.ceil(cell_width)
    pooled = torch.zeros(len(values), side, side)
    for i in range(side):
        for j in range(side):
            for a in range(rows):
                for b in range(columns):
                    y = y1 + cell_height * (i + (a + 0.5) / rows)
                    x = x1 + cell_width * (j + (b + 0.5) / columns)
                    pooled[:, i, j] += read_map(values, y, x)
    return pooled / max(rows * columns, 1)


def paste(mask, box, image_hw):
    """(H, W) bool: pixels whose centres read at least one half of the mask (M, M)."""
    height, width = image_hw
    x1, y1, x2, y2 = box
    side = len(mask)
    result = np.zeros(image_hw, dtype=bool)
    for row in range(height):
        for column in range(width):
            y = (row + 0.5 - y1) / (y2 - y1) * side - 0.5
            x = (column + 0.5 - x1) / (x2 - x1) * side - 0.5
            if -1 < y < side and -1 < x < side:
                padded = np.pad(mask, 1)
                i, j = math.floor(y) + 1, math.floor(x) + 1
                down, right = y + 1 - i, x + 1 - j
                square = padded[i : i + 2, j : j + 2]
                rows = square[0] * (1 - down) + square[1] * down
                result[row, column] = rows[0] * (1 - right) + rows[1] * right >= 0.5
    return result


def locate_keypoints(heatmaps, box):
    """x, y and logit (P, 3) of the maximum of each heat map (P, S, S), enlarged to its box."""
    width, height = max(box[2] - box[0], 1.0), max(box[3] - box[1], 1.0)
    size = math.ceil(height), math.ceil(width)
    enlarged = F.interpolate(heatmaps[None], size=size, mode="bicubic", align_corners=False)[0]
    found = []
    for plane in enlarged:
        place = int(plane.argmax())
        row, column = divmod(place, size[1])
        x = box[0] + (column + 0.5) * width / size[1]
        y = box[1] + (row + 0.5) * height / size[0]
        found.append((x, y, float(plane[row, column])))
    return np.array(found)
