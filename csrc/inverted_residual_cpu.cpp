// Inverted residual blocks by inverted_residual.h. Every result is the same sum whatever the number
// of threads and wherever bands of rows begin.
#include "contracted.h"

#include "inverted_residual.h"

#include <algorithm>
#include <cstdint>
#include <optional>
#include <type_traits>
#include <vector>

#include "channels_last.h"
#include "stable_util.h"
#include "storage.h"

namespace centermask {
namespace {

using namespace inverted_residual;

// Other kernels round products before they are added. These are all products and sums, and twice
// as fast without.
#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC push_options
#pragma GCC optimize("fp-contract=fast")
#endif

CM_TARGET_WIDE void expand_wide(const Product& product) {
  multiply<Registers<64>, true, true>(product);
}
CM_TARGET_CLONES void expand_narrow(const Product& product) {
  multiply<Registers<32>, false, true>(product);
}
CM_TARGET_WIDE void project_wide(const Product& product) {
  multiply<Registers<64>, true, false>(product);
}
CM_TARGET_CLONES void project_narrow(const Product& product) {
  multiply<Registers<32>, false, false>(product);
}
CM_TARGET_WIDE void filter_wide(const Filter& filter) { filter_rows<Registers<64>>(filter); }
CM_TARGET_CLONES void filter_narrow(const Filter& filter) { filter_rows<Registers<32>>(filter); }

#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC pop_options
#endif

CM_TARGET_CLONES void copy_channels(const Copy& copy) { copy_cells<Registers<32>>(copy); }
CM_TARGET_CLONES void finish(const Results<float>& results) {
  finish_cells<Registers<32>>(results);
}
CM_TARGET_CLONES void finish(const Results<BFloat16>& results) {
  finish_cells<Registers<32>>(results);
}
CM_TARGET_CLONES void widen(const BFloat16* from, int64_t count, float* to) {
  for (int64_t i = 0; i < count; ++i) to[i] = widened(from[i]);
}

// One block; E is how maps are stored. Weights of a part are (1 + inputs) x channels, the first row
// what is added; one group of channels lies behind the other.
template <typename E>
struct Block {
  int64_t num_images, channels, height, width, hidden, out_channels, stride;
  bool adds_input;
  float limit;
  const E* input;
  const float* expansion;  // none: the channels between are those that come in
  const float* depthwise;
  const float* projection;
  E* output;

  int64_t out_height() const { return (height - 1) / stride + 1; }
  int64_t out_width() const { return (width - 1) / stride + 1; }
  int64_t padded_out_channels() const { return round_up(out_channels, kVector); }
};

// Numbers between that fit into the second-level cache beside the rest.
constexpr int64_t kMostNumbers = 96 << 10;

// Neighbouring rows of results. Rows between take turns in the places of a group of channels, so
// that those which the next results need, too, are there.
template <typename E>
class Band {
 public:
  Band(const Block<E>& block, int64_t rows)
      : block_(block),
        step_({block.stride, block.hidden, block.out_width(), rows, kMostNumbers}),
        between_(block.hidden),
        out_(block.padded_out_channels()),
        is_wide_(has_wide_registers()),
        num_places_(extent(step_.rows, block.stride)),
        num_columns_(extent(step_.columns, block.stride)),
        rows_(num_places_),
        ring_(num_places_ * num_columns_ * (step_.is_band ? kGroup * kVector : block.hidden)),
        zeros_(num_columns_ * kGroup * kVector),
        filtered_(step_.rows * step_.columns * kGroup * kVector),
        sums_(step_.rows * step_.columns * block.padded_out_channels()),
        pixels_(std::is_same_v<E, float> ? 0 : num_places_ * num_columns_ * block.channels) {
    std::fill_n(zeros_.data(), num_columns_ * kGroup * kVector, 0.0f);
  }

  // The rows of an image from `begin` up to `end`.
  void run(int64_t image, int64_t begin, int64_t end) {
    for (left_ = 0; left_ < block_.out_width(); left_ = right_) {
      right_ = std::min(left_ + step_.columns, block_.out_width());
      first_column_ = std::max<int64_t>(left_ * block_.stride - 1, 0);
      last_column_ = std::min((right_ - 1) * block_.stride + 2, block_.width);
      int64_t next = std::max<int64_t>(begin * block_.stride - 1, 0);
      for (int64_t row = begin; row < end; row += step_.rows) {
        const int64_t last = std::min(row + step_.rows, end);
        const int64_t until = std::min((last - 1) * block_.stride + 2, block_.height);
        read(image, next, until);
        for (int64_t group = 0; group < between_.count(); ++group) {
          for (int64_t y = next; y < until; ++y) expand(group, y);
          filter(group, row, last - row);
          project(group, last - row);
        }
        write(image, row, last);
        next = until;
      }
    }
  }

 private:
  float* row_between(int64_t group, int64_t y) {
    const int64_t first = step_.is_band ? 0 : between_.first(group) * num_places_;
    return ring_.data() + (first + y % num_places_ * between_.width(group)) * num_columns_;
  }

  // Makes rows of the input ready to be expanded.
  void read(int64_t image, int64_t begin, int64_t end) {
    const int64_t row_length = block_.width * block_.channels;
    const int64_t place = (image * block_.height + begin) * row_length;
    const E* input = block_.input + place + first_column_ * block_.channels;
    first_row_ = begin;
    if constexpr (std::is_same_v<E, float>) {
      values_ = input;
      row_stride_ = row_length;
    } else {
      row_stride_ = (last_column_ - first_column_) * block_.channels;
      for (int64_t y = 0; y < end - begin; ++y) {
        widen(input + y * row_length, row_stride_, pixels_.data() + y * row_stride_);
      }
      values_ = pixels_.data();
    }
  }

  void expand(int64_t group, int64_t y) {
    const int64_t width = between_.width(group), first = between_.first(group);
    const int64_t num_cells = last_column_ - first_column_;
    const float* values = values_ + (y - first_row_) * row_stride_;
    float* row = row_between(group, y);
    if (left_ == 0) row = std::fill_n(row, width, 0.0f);
    if (block_.expansion) {
      const float* weight = block_.expansion + first * (1 + block_.channels);
      const Product product{num_cells,      block_.channels, width, values, block_.channels,
                            weight + width, weight,          0,     row,    width,
                            block_.limit};
      is_wide_ ? expand_wide(product) : expand_narrow(product);
    } else {
      copy_channels({num_cells, block_.channels, first, width, values, row});
    }
    if ((right_ - 1) * block_.stride + 2 > block_.width) {
      std::fill_n(row + num_cells * width, width, 0.0f);
    }
  }

  void filter(int64_t group, int64_t top, int64_t num_rows) {
    for (int64_t i = 0; i < extent(num_rows, block_.stride); ++i) {
      const int64_t y = top * block_.stride - 1 + i;
      rows_[i] = y >= 0 && y < block_.height ? row_between(group, y) : zeros_.data();
    }
    const Filter filter{num_rows,      right_ - left_,
                        block_.stride, between_.width(group),
                        rows_.data(),  block_.depthwise + between_.first(group) * (1 + kTaps),
                        block_.limit,  filtered_.data()};
    is_wide_ ? filter_wide(filter) : filter_narrow(filter);
  }

  // Adds what a group of channels between contributes to the results.
  void project(int64_t group, int64_t num_rows) {
    const int64_t width = between_.width(group), stride = block_.padded_out_channels();
    for (int64_t part = 0; part < out_.count(); ++part) {
      const int64_t out_width = out_.width(part), first = out_.first(part);
      const float* weight = block_.projection + first * (1 + block_.hidden);
      float* sums = sums_.data() + first;
      const bool is_first = group == 0;
      const Product product{num_rows * (right_ - left_),
                            width,
                            out_width,
                            filtered_.data(),
                            width,
                            weight + (1 + between_.first(group)) * out_width,
                            is_first ? weight : sums,
                            is_first ? 0 : stride,
                            sums,
                            stride,
                            0.0f};
      is_wide_ ? project_wide(product) : project_narrow(product);
    }
  }

  void write(int64_t image, int64_t begin, int64_t end) {
    const int64_t num_cells = right_ - left_, stride = block_.padded_out_channels();
    for (int64_t y = begin; y < end; ++y) {
      const int64_t cell = (image * block_.out_height() + y) * block_.out_width() + left_;
      const int64_t place = cell * block_.out_channels;
      finish(Results<E>{num_cells, block_.out_channels, stride,
                        sums_.data() + (y - begin) * num_cells * stride,
                        block_.adds_input ? block_.input + place : nullptr, block_.output + place});
    }
  }

  const Block<E>& block_;
  const Step step_;
  const Groups between_, out_;
  const bool is_wide_;
  const int64_t num_places_, num_columns_;
  // Columns of results, and of what they depend on.
  int64_t left_ = 0, right_ = 0, first_column_ = 0, last_column_ = 0;
  // Rows that were read.
  int64_t first_row_ = 0, row_stride_ = 0;
  const float* values_ = nullptr;
  std::vector<const float*> rows_;
  Scratch<float> ring_, zeros_, filtered_, sums_, pixels_;
};

// Checks the weights, too; the channels between.
int64_t check_weights(int64_t channels, const std::optional<Tensor>& expansion,
                      const Tensor& depthwise, const Tensor& projection, int64_t out_channels) {
  check_shape(depthwise, "depthwise", {-1});
  const int64_t count = depthwise.size(0), hidden = count / (1 + kTaps);
  STD_TORCH_CHECK(hidden > 0 && count % ((1 + kTaps) * kVector) == 0,
                  "depthwise: expected a multiple of ", (1 + kTaps) * kVector, " numbers, got ",
                  count);
  check_dtype(depthwise, "depthwise", ScalarType::Float);
  if (expansion) {
    check_shape(*expansion, "expansion", {(1 + channels) * hidden});
    check_dtype(*expansion, "expansion", ScalarType::Float);
  } else {
    const int64_t wanted = round_up(channels, kVector);
    STD_TORCH_CHECK(hidden == wanted, "depthwise: expected weights of ", wanted, " channels, got ",
                    hidden);
  }
  check_shape(projection, "projection", {(1 + hidden) * round_up(out_channels, kVector)});
  check_dtype(projection, "projection", ScalarType::Float);
  return hidden;
}

Tensor compute_block(const Tensor& input, const std::optional<Tensor>& expansion,
                     const Tensor& depthwise, const Tensor& projection, int64_t out_channels,
                     int64_t stride, bool adds_input, double limit) {
  check_maps(input, out_channels, stride, adds_input);
  STD_TORCH_CHECK(limit > 0, "limit: expected a positive number, got ", limit);
  const int64_t n = input.size(0), c = input.size(1), h = input.size(2), w = input.size(3);
  const int64_t hidden = check_weights(c, expansion, depthwise, projection, out_channels);
  const Tensor pixels = channels_last(input);
  std::optional<Tensor> expanding;
  if (expansion) expanding = torch::stable::contiguous(*expansion);
  const Tensor filters = torch::stable::contiguous(depthwise);
  const Tensor projecting = torch::stable::contiguous(projection);
  Tensor output = torch::stable::new_empty(
      input, {n, (h - 1) / stride + 1, (w - 1) / stride + 1, out_channels});
  const auto run = [&](auto element) {
    using E = decltype(element);
    compute_bands<Band<E>>(Block<E>{
        n, c, h, w, hidden, out_channels, stride, adds_input, static_cast<float>(limit),
        static_cast<const E*>(pixels.const_data_ptr()),
        expanding ? expanding->const_data_ptr<float>() : nullptr, filters.const_data_ptr<float>(),
        projecting.const_data_ptr<float>(), static_cast<E*>(output.mutable_data_ptr())});
  };
  if (output.numel() > 0) {
    input.scalar_type() == ScalarType::Float ? run(float{}) : run(BFloat16{});
  }
  return torch::stable::transpose(torch::stable::transpose(output, 2, 3), 1, 2);
}

STABLE_TORCH_LIBRARY_IMPL(CM_NAMESPACE, CPU, m) {
  m.impl("inverted_residual", TORCH_BOX(&compute_block));
}

}  // namespace
}  // namespace centermask
