// Greedy suppression in two kernels: all pairs first, 64 boxes to a word of bits, then one block
// walks along the ranks. Nothing waits for the device, and the result has the size of the input.
#include "nms.h"

#include <cstdint>
#include <optional>

#include "cuda_launch.h"

namespace centermask {
namespace {

constexpr int64_t kTile = 64;
constexpr int64_t kSweepThreads = 256;

// Boxes first..first + kTile of the ranks, in shared memory.
template <typename T>
struct Tile {
  T x1[kTile], y1[kTile], x2[kTile], y2[kTile], area[kTile];
  int64_t label[kTile];
};

template <typename T>
CM_DEVICE void load(Tile<T>& tile, int64_t slot, const T* boxes, const int64_t* labels,
                    int64_t box) {
  const T* corners = boxes + 4 * box;
  tile.x1[slot] = corners[0];
  tile.y1[slot] = corners[1];
  tile.x2[slot] = corners[2];
  tile.y2[slot] = corners[3];
  tile.area[slot] = inclusive_area(corners[0], corners[1], corners[2], corners[3]);
  tile.label[slot] = labels == nullptr ? 0 : labels[box];
}

// struck[row * num_tiles + t], bit b: box `row` suppresses box t * kTile + b. Only later boxes are
// of interest: words of earlier tiles are not written. A block works on one pair of tiles at a
// time, a thread on one row.
template <typename T>
__global__ void compare_pairs(const T* boxes, const int64_t* labels, int64_t num_boxes,
                              int64_t num_tiles, T threshold, uint64_t* struck) {
  __shared__ Tile<T> columns;
  const int64_t slot = threadIdx.x;
  for (int64_t pair = blockIdx.x; pair < num_tiles * num_tiles; pair += gridDim.x) {
    const int64_t row_tile = pair / num_tiles, column_tile = pair % num_tiles;
    if (column_tile < row_tile) continue;
    const int64_t row = row_tile * kTile + slot, first = column_tile * kTile;
    __syncthreads();
    if (first + slot < num_boxes) load(columns, slot, boxes, labels, first + slot);
    __syncthreads();
    if (row >= num_boxes) continue;
    const T* a = boxes + 4 * row;
    const T area = inclusive_area(a[0], a[1], a[2], a[3]);
    const int64_t label = labels == nullptr ? 0 : labels[row];
    const int64_t end = num_boxes - first < kTile ? num_boxes - first : kTile;
    uint64_t word = 0;
    for (int64_t i = column_tile == row_tile ? slot + 1 : 0; i < end; ++i) {
      const bool strikes = label == columns.label[i] &&
                           suppresses(a[0], a[1], a[2], a[3], area, columns.x1[i], columns.y1[i],
                                      columns.x2[i], columns.y2[i], columns.area[i], threshold);
      word |= static_cast<uint64_t>(strikes) << i;
    }
    struck[row * num_tiles + column_tile] = word;
  }
}

// One block. Tile by tile: who of the tile survives is found by every thread alike; then the words
// that the survivors strike in later tiles are gathered in `dead` (zeros at first), each word by
// one thread.
__global__ void sweep(const uint64_t* struck, int64_t num_boxes, int64_t num_tiles, uint64_t* dead,
                      bool* keep) {
  __shared__ uint64_t within[kTile];
  for (int64_t tile = 0; tile < num_tiles; ++tile) {
    const int64_t first = tile * kTile;
    const int64_t count = num_boxes - first < kTile ? num_boxes - first : kTile;
    __syncthreads();
    for (int64_t i = threadIdx.x; i < count; i += blockDim.x) {
      within[i] = struck[(first + i) * num_tiles + tile];
    }
    __syncthreads();
    uint64_t gone = dead[tile];
    for (int64_t i = 0; i < count; ++i) {
      if (!(gone >> i & 1)) gone |= within[i];
    }
    for (int64_t i = threadIdx.x; i < count; i += blockDim.x) keep[first + i] = !(gone >> i & 1);
    for (int64_t later = tile + 1 + threadIdx.x; later < num_tiles; later += blockDim.x) {
      uint64_t word = dead[later];
      for (int64_t i = 0; i < count; ++i) {
        if (!(gone >> i & 1)) word |= struck[(first + i) * num_tiles + later];
      }
      dead[later] = word;
    }
  }
}

Tensor nms_keep(const Tensor& boxes, const std::optional<Tensor>& labels, double threshold) {
  check_shape(boxes, "boxes", {-1, 4});
  const int64_t count = boxes.size(0);
  std::optional<Tensor> dense_labels;
  if (labels.has_value()) {
    check_shape(*labels, "labels", {count});
    check_dtype(*labels, "labels", ScalarType::Long);
    check_device(*labels, "labels", boxes, "boxes");
    dense_labels = torch::stable::contiguous(*labels);
  }
  const Tensor dense_boxes = torch::stable::contiguous(boxes);
  const int64_t num_tiles = (count + kTile - 1) / kTile;
  Tensor keep = torch::stable::new_empty(boxes, {count}, ScalarType::Bool);
  Tensor struck = torch::stable::new_empty(boxes, {count * num_tiles}, ScalarType::Long);
  Tensor dead = torch::stable::new_zeros(boxes, {num_tiles}, ScalarType::Long);
  for_floating(boxes, "boxes", [&](auto zero) {
    using T = decltype(zero);
    if (count == 0) return;
    const CudaScope scope(boxes);
    const int64_t* groups = dense_labels ? dense_labels->const_data_ptr<int64_t>() : nullptr;
    auto* struck_words = static_cast<uint64_t*>(struck.mutable_data_ptr());
    auto* dead_words = static_cast<uint64_t*>(dead.mutable_data_ptr());
    launch(compare_pairs<T>, grid_for(num_tiles * num_tiles, 1), dim3(kTile), scope.stream(),
           dense_boxes.const_data_ptr<T>(), groups, count, num_tiles, static_cast<T>(threshold),
           struck_words);
    launch(sweep, dim3(1), dim3(kSweepThreads), scope.stream(), struck_words, count, num_tiles,
           dead_words, keep.mutable_data_ptr<bool>());
  });
  return keep;
}

STABLE_TORCH_LIBRARY_IMPL(CM_NAMESPACE, CM_CUDA_KEY, m) {
  m.impl("nms_keep", TORCH_BOX(&nms_keep));
}

}  // namespace
}  // namespace centermask
