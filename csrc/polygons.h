// Where the outline of a polygon crosses the middle of pixel columns, by the rules of COCO's mask
// API (pycocotools): corners move to a grid five times as fine as the pixels, edges become chains
// of grid cells, and between the cells 5 x + 2 and 5 x + 3 an edge crosses pixel column x. The
// published API visits every cell of an outline; here only the crossings are worked out, with the
// same double precision numbers, so that the cost does not grow with the lengths of edges.
#pragma once

#include <algorithm>
#include <cstdint>
#include <cstdlib>

#include "platform.h"

namespace centermask {

constexpr int64_t kFine = 5;
// Fine cell, within its pixel, after which the middle is crossed.
constexpr int64_t kBeforeMiddle = 2;
// Corners beyond this many fine cells are moved to it.
constexpr double kMostFine = 1 << 30;

struct FinePoint {
  int64_t x, y;
};

// Nearest cell of the fine grid; halves, and all that is negative, are rounded towards zero after
// half a cell is added.
inline int64_t fine_cell(float coordinate) {
  const double cell = static_cast<double>(kFine) * coordinate + 0.5;
  const double above = cell > -kMostFine ? cell : -kMostFine;
  return static_cast<int64_t>(above < kMostFine ? above : kMostFine);
}

// First pixel row whose middle lies below a crossing between fine rows.
inline int64_t first_row_below(int64_t fine_row, int64_t height) {
  if (fine_row <= kBeforeMiddle) return 0;
  return std::min((fine_row - kBeforeMiddle + kFine - 1) / kFine, height);
}

// Pixel columns whose middle lies between two fine columns.
struct ColumnRange {
  int64_t begin, end;

  ColumnRange(int64_t low, int64_t high, int64_t width)
      : begin(low <= kBeforeMiddle ? 0 : (low - kBeforeMiddle + kFine - 1) / kFine),
        end(high <= kBeforeMiddle ? 0 : std::min((high - kBeforeMiddle - 1) / kFine + 1, width)) {}
};

// Cells along one edge: the position on the short axis at each step of the long one.
struct FineEdge {
  double start, slope;

  int64_t at(int64_t step) const {
    return static_cast<int64_t>(start + slope * static_cast<double>(step) + 0.5);
  }
};

// Calls visit(column, row) for each column that an edge crosses: `row` is the first pixel row below
// the crossing, `height` if there is none. Columns outside the canvas are left out.
template <typename Visit>
void cross_columns(FinePoint from, FinePoint to, int64_t height, int64_t width,
                   const Visit& visit) {
  const int64_t dx = std::abs(to.x - from.x), dy = std::abs(to.y - from.y);
  const bool flat = dx >= dy;
  if (flat ? from.x > to.x : from.y > to.y) std::swap(from, to);
  if (flat) {
    const ColumnRange columns(from.x, to.x, width);
    const FineEdge rows{static_cast<double>(from.y), static_cast<double>(to.y - from.y) / dx};
    for (int64_t column = columns.begin; column < columns.end; ++column) {
      const int64_t step = kFine * column + kBeforeMiddle - from.x;
      visit(column, first_row_below(rows.at(rows.slope < 0 ? step + 1 : step), height));
    }
    return;
  }
  const FineEdge cells{static_cast<double>(from.x), static_cast<double>(to.x - from.x) / dy};
  const int64_t first = cells.at(0), last = cells.at(dy);
  const bool rightwards = last > first;
  const ColumnRange columns(std::min(first, last), std::max(first, last), width);
  for (int64_t column = columns.begin; column < columns.end; ++column) {
    const int64_t before = kFine * column + kBeforeMiddle;
    const auto crossed = [&](int64_t step) { return (cells.at(step) > before) == rightwards; };
    // The first step behind the crossing: a guess, then the same numbers as at every step.
    const double guess = (static_cast<double>(before) + 0.5 - cells.start) / cells.slope;
    int64_t step = std::min(std::max<int64_t>(static_cast<int64_t>(guess), 1), dy);
    while (step > 1 && crossed(step - 1)) --step;
    while (!crossed(step)) ++step;
    visit(column, first_row_below(from.y + step - 1, height));
  }
}

}  // namespace centermask
