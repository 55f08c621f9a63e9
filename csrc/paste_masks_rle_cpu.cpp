// Masks resized to their boxes, thresholded and encoded, one image column after the other: nothing
// is larger than the visible part of one box at the mask's own width. All arithmetic is in float32
// and in the order of layers/mask_resize.py, so that the encoded pixels are those of a pasted mask.
#include <algorithm>
#include <cstdint>
#include <string>
#include <tuple>
#include <vector>

#include "channel_blocks.h"
#include "run_lengths.h"
#include "stable_util.h"

namespace centermask {
namespace {

// Fewer would take less time than waking a thread.
constexpr int64_t kMasksPerThread = 16;
// Corners beyond this are moved to it before they become integers.
constexpr float kMaxCoordinate = 1 << 30;
constexpr int64_t kMostPixels = UINT32_MAX;

struct Settings {
  int64_t side, padding, height, width;
  float threshold;

  int64_t padded_side() const { return side + 2 * padding; }
};

// The visible pixels of a box along one axis, and between which cells of the padded mask they lie.
struct VisibleSpan {
  int64_t start = 0, visible = 0;
  std::vector<int64_t> lower, upper;
  std::vector<float> weight;

  void locate(int64_t first, int64_t last, int64_t image_length, int64_t num_cells) {
    const int64_t full = std::max<int64_t>(last - first + 1, 1);
    start = std::min(std::max<int64_t>(first, 0), image_length);
    visible = std::min(std::max(first + full, start), image_length) - start;
    lower.resize(visible);
    upper.resize(visible);
    weight.resize(visible);
    const float scale = static_cast<float>(static_cast<double>(num_cells) / full);
    for (int64_t i = 0; i < visible; ++i) {
      const float target = static_cast<float>(start - first + i);
      const float position = std::max((target + 0.5f) * scale - 0.5f, 0.0f);
      lower[i] = std::min(static_cast<int64_t>(position), num_cells - 1);
      upper[i] = std::min(lower[i] + 1, num_cells - 1);
      weight[i] = position - static_cast<float>(lower[i]);
    }
  }
};

// Row i of `result`: cells of two rows of the mask in the proportions of image row i.
CM_TARGET_CLONES void resize_rows(const float* CM_RESTRICT mask, int64_t num_cells,
                                  const VisibleSpan& rows, float* CM_RESTRICT result) {
  for (int64_t i = 0; i < rows.visible; ++i) {
    const float* lower = mask + rows.lower[i] * num_cells;
    const float* upper = mask + rows.upper[i] * num_cells;
    const float weight = rows.weight[i];
    for (int64_t c = 0; c < num_cells; ++c) {
      result[i * num_cells + c] = lower[c] * (1.0f - weight) + upper[c] * weight;
    }
  }
}

CM_TARGET_CLONES void transpose_rows(const float* rows, int64_t num_rows, int64_t num_cells,
                                     float* columns) {
  transpose<16>(rows, num_cells, num_rows, num_cells, columns, num_rows);
}

// Which pixels of an image column are above the threshold.
CM_TARGET_CLONES void fill_column(const float* CM_RESTRICT lower, const float* CM_RESTRICT upper,
                                  float weight, float threshold, int64_t count,
                                  uint8_t* CM_RESTRICT pixels) {
  for (int64_t i = 0; i < count; ++i) {
    pixels[i] = lower[i] * (1.0f - weight) + upper[i] * weight > threshold;
  }
}

// Encodes one mask after another; its buffers are used again.
class Encoder {
 public:
  explicit Encoder(const Settings& settings) : s_(settings) {}

  std::string encode(const float* mask, const float* box) {
    place(box);
    pad(mask);
    const int64_t num_cells = s_.padded_side();
    by_row_.resize(rows_.visible * num_cells);
    by_column_.resize(rows_.visible * num_cells);
    pixels_.resize(rows_.visible);
    resize_rows(padded_.data(), num_cells, rows_, by_row_.data());
    transpose_rows(by_row_.data(), rows_.visible, num_cells, by_column_.data());
    runs_.clear();
    for (int64_t i = 0; i < columns_.visible && rows_.visible > 0; ++i) add_column(i);
    end_run((columns_.start + columns_.visible) * s_.height);
    runs_.finish(s_.height * s_.width);
    return runs_.compressed();
  }

 private:
  // The box grows about its centre with the padding; corners are rounded towards zero.
  void place(const float* box) {
    const float factor =
        static_cast<float>(static_cast<double>(s_.padded_side()) / static_cast<double>(s_.side));
    const auto locate = [&](float low, float high, int64_t length, VisibleSpan& span) {
      const float center = (high + low) * 0.5f, half = (high - low) * 0.5f * factor;
      span.locate(integer(center - half), integer(center + half), length, s_.padded_side());
    };
    locate(box[0], box[2], s_.width, columns_);
    locate(box[1], box[3], s_.height, rows_);
  }

  // Comparisons arranged so that what overflowed to NaN is no undefined integer.
  static int64_t integer(float corner) {
    const float above = corner > -kMaxCoordinate ? corner : -kMaxCoordinate;
    return static_cast<int64_t>(above < kMaxCoordinate ? above : kMaxCoordinate);
  }

  void pad(const float* mask) {
    const int64_t num_cells = s_.padded_side();
    padded_.assign(num_cells * num_cells, 0.0f);
    for (int64_t row = 0; row < s_.side; ++row) {
      std::copy_n(mask + row * s_.side, s_.side,
                  padded_.data() + (row + s_.padding) * num_cells + s_.padding);
    }
  }

  void add_column(int64_t i) {
    const float* lower = by_column_.data() + columns_.lower[i] * rows_.visible;
    const float* upper = by_column_.data() + columns_.upper[i] * rows_.visible;
    fill_column(lower, upper, columns_.weight[i], s_.threshold, rows_.visible, pixels_.data());
    const int64_t begin = (columns_.start + i) * s_.height + rows_.start;
    runs_.add(pixels_.data(), rows_.visible, begin);
    // A run to the image's bottom may go on at the top of the next column.
    if (rows_.visible < s_.height) end_run(begin + rows_.visible);
  }

  void end_run(int64_t position) {
    if (position < s_.height * s_.width) runs_.change_to(0, position);
  }

  Settings s_;
  VisibleSpan rows_, columns_;
  std::vector<float> padded_, by_row_, by_column_;
  std::vector<uint8_t> pixels_;
  RunLengths runs_;
};

void check_inputs(const Tensor& masks, const Tensor& boxes, int64_t height, int64_t width,
                  int64_t padding) {
  check_shape(masks, "masks", {-1, -1, -1});
  check_shape(masks, "masks", {-1, -1, masks.size(1)});
  check_shape(boxes, "boxes", {masks.size(0), 4});
  check_dtype(masks, "masks", ScalarType::Float);
  check_dtype(boxes, "boxes", ScalarType::Float);
  STD_TORCH_CHECK(masks.size(0) == 0 || masks.size(1) > 0, "masks: expected at least one pixel");
  STD_TORCH_CHECK(height >= 0 && width >= 0 && (width == 0 || height <= kMostPixels / width),
                  "height and width: expected at most ", kMostPixels, " pixels, got ", height,
                  " x ", width);
  STD_TORCH_CHECK(padding >= 0 && padding <= (1 << 12),
                  "padding: expected 0 or more, at most 4096, got ", padding);
}

std::tuple<Tensor, Tensor> joined(const std::vector<std::string>& texts, const Tensor& like) {
  const int64_t count = static_cast<int64_t>(texts.size());
  Tensor offsets = torch::stable::new_empty(like, {count + 1}, ScalarType::Long);
  int64_t* ends = offsets.mutable_data_ptr<int64_t>();
  ends[0] = 0;
  for (int64_t i = 0; i < count; ++i) ends[i + 1] = ends[i] + static_cast<int64_t>(texts[i].size());
  Tensor characters = torch::stable::new_empty(like, {ends[count]}, ScalarType::Byte);
  uint8_t* to = characters.mutable_data_ptr<uint8_t>();
  for (int64_t i = 0; i < count; ++i) std::copy(texts[i].begin(), texts[i].end(), to + ends[i]);
  return {characters, offsets};
}

std::tuple<Tensor, Tensor> paste_masks_rle(const Tensor& masks, const Tensor& boxes, int64_t height,
                                           int64_t width, double threshold, int64_t padding) {
  check_inputs(masks, boxes, height, width, padding);
  const Tensor dense_masks = torch::stable::contiguous(masks);
  const Tensor dense_boxes = torch::stable::contiguous(boxes);
  check_finite(dense_boxes, "boxes");
  const int64_t side = masks.size(1);
  const Settings settings{side, padding, height, width, static_cast<float>(threshold)};
  const float* from = dense_masks.const_data_ptr<float>();
  const float* corners = dense_boxes.const_data_ptr<float>();
  std::vector<std::string> texts(masks.size(0));
  torch::stable::parallel_for(0, masks.size(0), kMasksPerThread, [&](int64_t begin, int64_t end) {
    Encoder encoder(settings);
    for (int64_t i = begin; i < end; ++i) {
      texts[i] = encoder.encode(from + i * side * side, corners + 4 * i);
    }
  });
  return joined(texts, masks);
}

STABLE_TORCH_LIBRARY_IMPL(CM_NAMESPACE, CPU, m) {
  m.impl("paste_masks_rle", TORCH_BOX(&paste_masks_rle));
}

}  // namespace
}  // namespace centermask
