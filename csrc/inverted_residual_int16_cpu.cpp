// Inverted residual blocks by inverted_residual_int16.h. Every result is the same sum whatever the
// number of threads and wherever bands of rows begin.
#include "contracted.h"

#include "inverted_residual_int16.h"

#include <algorithm>
#include <cstdint>
#include <limits>
#include <vector>

#include "channels_last.h"
#include "inverted_residual.h"
#include "stable_util.h"
#include "storage.h"

namespace centermask {
namespace {

using namespace inverted_residual;

// Sums are exact but for their scales and offsets, which are products and sums, too.
#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC push_options
#pragma GCC optimize("fp-contract=fast")
#endif

#define CM_PARTS(SUFFIX, TARGET, BYTES, PAIRS)                                 \
  TARGET void expand_##SUFFIX(const Expansion& expansion) {                    \
    for_group<ExpandCells, PAIRS, Registers<BYTES>, BYTES == 64>(expansion);   \
  }                                                                            \
  TARGET void filter_##SUFFIX(const IntegerFilter& filter) {                   \
    filter_integers<PAIRS, Registers<BYTES>, BYTES == 64>(filter);             \
  }                                                                            \
  TARGET void project_##SUFFIX(const Projection& projection) {                 \
    for_group<ProjectCells, PAIRS, Registers<BYTES>, BYTES == 64>(projection); \
  }                                                                            \
  TARGET bool round_##SUFFIX(const Rounding<float>& rounding) {                \
    return round_cells<Registers<32>>(rounding);                               \
  }                                                                            \
  TARGET bool round_##SUFFIX(const Rounding<BFloat16>& rounding) {             \
    return round_cells<Registers<32>>(rounding);                               \
  }                                                                            \
  TARGET void finish_##SUFFIX(const Results<float>& results) {                 \
    finish_cells<Registers<32>>(results);                                      \
  }                                                                            \
  TARGET void finish_##SUFFIX(const Results<BFloat16>& results) {              \
    finish_cells<Registers<32>>(results);                                      \
  }
CM_PARTS(narrow, CM_TARGET_CLONES, 32, PlainPairs)
#if defined(CM_HAS_INTEGER_PRODUCTS)
CM_PARTS(wide, CM_TARGET_INTEGER_PRODUCTS, 64, PairsInOneStep)
#define CM_CHOOSE(PART, ARGUMENT) \
  (has_integer_products() ? PART##_wide(ARGUMENT) : PART##_narrow(ARGUMENT))
#else
#define CM_CHOOSE(PART, ARGUMENT) PART##_narrow(ARGUMENT)
#endif
#undef CM_PARTS

#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC pop_options
#endif

// One block; E is how maps are stored. Integers lie group after group of channels, each of pairs of
// rows x channels x 2.
template <typename E>
struct IntegerBlock {
  int64_t num_images, channels, height, width, hidden, out_channels, stride;
  bool adds_input;
  const E* input;
  const int16_t* expansion;
  const int16_t* depthwise;
  const int16_t* projection;
  // For the channels between the scales and offsets of the expansion and of the 3 x 3 convolution;
  // for those that leave offsets, and scales for each group of those between.
  const float* factors;
  E* output;

  int64_t out_height() const { return (height - 1) / stride + 1; }
  int64_t out_width() const { return (width - 1) / stride + 1; }
  int64_t num_pairs() const { return (channels + 1) / 2; }
  int64_t padded_out_channels() const { return round_up(out_channels, kVector); }
};

// Numbers between that fit into the second-level cache beside the rest.
constexpr int64_t kMostNumbers = 192 << 10;

// Neighbouring rows of results. Rows between take turns in the places of a group of channels, so
// that those which the next results need, too, are there.
template <typename E>
class IntegerBand {
 public:
  IntegerBand(const IntegerBlock<E>& block, int64_t rows)
      : block_(block),
        step_({block.stride, block.hidden, block.out_width(), rows, kMostNumbers}),
        columns_(round_up(step_.columns, 2)),
        between_(block.hidden),
        out_(block.padded_out_channels()),
        num_places_(extent(step_.rows, block.stride)),
        num_words_(columns_ * block.stride / 2 + 2),
        room_(round_up(block.channels, kVector / 2)),
        rows_(num_places_),
        spoiled_(num_places_ * 2 * num_words_),
        has_spoiled_(num_places_),
        ring_(num_places_ * num_words_ * (step_.is_band ? kGroup * kVector : block.hidden)),
        zeros_(num_words_ * kGroup * kVector),
        // Cells are multiplied in pairs.
        pixels_((num_places_ * 2 * num_words_ + 1) * room_),
        scales_(num_places_ * 2 * num_words_ + 1),
        filtered_(step_.rows * columns_ * kGroup * kVector),
        sums_(step_.rows * columns_ * block.padded_out_channels()) {
    std::fill_n(zeros_.data(), num_words_ * kGroup * kVector, 0);
  }

  // The rows of an image from `begin` up to `end`.
  void run(int64_t image, int64_t begin, int64_t end) {
    for (left_ = 0; left_ < block_.out_width(); left_ = right_) {
      right_ = std::min(left_ + columns_, block_.out_width());
      num_cells_ = round_up(right_ - left_, 2);
      // From the left column of a word on.
      first_column_ = std::max<int64_t>(left_ * block_.stride - 2, 0);
      last_column_ = std::min((right_ - 1) * block_.stride + 2, block_.width);
      int64_t next = std::max<int64_t>(begin * block_.stride - 1, 0);
      for (int64_t row = begin; row < end; row += step_.rows) {
        const int64_t last = std::min(row + step_.rows, end);
        const int64_t until = std::min((last - 1) * block_.stride + 2, block_.height);
        for (int64_t y = next; y < until; ++y) read(image, y, y - next);
        for (int64_t group = 0; group < between_.count(); ++group) {
          for (int64_t y = next; y < until; ++y) expand(group, y, y - next);
          filter(group, row, last - row);
          project(group, last - row);
        }
        for (int64_t y = row; y < last; ++y) write(image, y, y - row);
        next = until;
      }
    }
  }

 private:
  int64_t num_read() const { return last_column_ - first_column_; }
  uint8_t* spoiled_of(int64_t y) { return spoiled_.data() + y % num_places_ * 2 * num_words_; }
  uint32_t* row_between(int64_t group, int64_t y) {
    const int64_t first = step_.is_band ? 0 : between_.first(group) * num_places_;
    return ring_.data() + (first + y % num_places_ * between_.width(group)) * num_words_;
  }

  // Makes a row of the input ready to be expanded.
  void read(int64_t image, int64_t y, int64_t place) {
    const int64_t cell = (image * block_.height + y) * block_.width + first_column_;
    const Rounding<E> rounding{num_read(),
                               block_.channels,
                               room_,
                               block_.input + cell * block_.channels,
                               pixels_.data() + place * num_read() * room_,
                               scales_.data() + place * num_read(),
                               spoiled_of(y)};
    has_spoiled_[y % num_places_] = CM_CHOOSE(round, rounding);
  }

  void expand(int64_t group, int64_t y, int64_t place) {
    const int64_t width = between_.width(group), first = between_.first(group);
    const float* factors = block_.factors + first;
    uint32_t* row = row_between(group, y);
    uint32_t* const end = row + num_words_ * width;
    if (left_ == 0) row = std::fill_n(row, width, 0);
    const Expansion expansion{
        {num_read(), block_.num_pairs(), width, pixels_.data() + place * num_read() * room_, room_,
         block_.expansion + first * 2 * block_.num_pairs(), factors, factors + block_.hidden},
        scales_.data() + place * num_read(),
        row};
    CM_CHOOSE(expand, expansion);
    std::fill(row + (num_read() + 1) / 2 * width, end, 0);
  }

  void filter(int64_t group, int64_t top, int64_t num_rows) {
    for (int64_t i = 0; i < extent(num_rows, block_.stride); ++i) {
      const int64_t y = top * block_.stride - 1 + i;
      rows_[i] = y >= 0 && y < block_.height ? row_between(group, y) : zeros_.data();
    }
    const int64_t first = between_.first(group);
    const float* factors = block_.factors + 2 * block_.hidden + first;
    const IntegerFilter filter{num_rows,        num_cells_,
                               block_.stride,   between_.width(group),
                               rows_.data(),    block_.depthwise + first * 2 * 3 * kPairsOfRow,
                               factors,         factors + block_.hidden,
                               filtered_.data()};
    CM_CHOOSE(filter, filter);
  }

  // Adds what a group of channels between contributes to the results.
  void project(int64_t group, int64_t num_rows) {
    const int64_t width = between_.width(group), stride = block_.padded_out_channels();
    const float* offsets = block_.factors + 4 * block_.hidden;
    for (int64_t part = 0; part < out_.count(); ++part) {
      const int64_t out_width = out_.width(part), first = out_.first(part);
      const int16_t* weight = block_.projection + first * block_.hidden;
      const Projection projection{{num_rows * num_cells_, width / 2, out_width, filtered_.data(),
                                   width, weight + between_.first(group) * out_width,
                                   offsets + (1 + group) * stride + first, offsets + first},
                                  group == 0,
                                  sums_.data() + first,
                                  stride};
      CM_CHOOSE(project, projection);
    }
  }

  void write(int64_t image, int64_t y, int64_t place) {
    const int64_t stride = block_.padded_out_channels();
    const int64_t cell = (image * block_.out_height() + y) * block_.out_width() + left_;
    float* sums = sums_.data() + place * num_cells_ * stride;
    const int64_t top = std::max<int64_t>(y * block_.stride - 1, 0);
    const int64_t bottom = std::min(y * block_.stride + 2, block_.height);
    for (int64_t row = top; row < bottom; ++row) {
      if (has_spoiled_[row % num_places_]) spoil(spoiled_of(row), sums);
    }
    const E* addends = block_.adds_input ? block_.input + cell * block_.out_channels : nullptr;
    const Results<E> results{right_ - left_, block_.out_channels,
                             stride,         sums,
                             addends,        block_.output + cell * block_.out_channels};
    CM_CHOOSE(finish, results);
  }

  // Results next to cells of a row that are spoiled are no numbers.
  void spoil(const uint8_t* spoiled, float* sums) {
    const int64_t stride = block_.padded_out_channels();
    for (int64_t i = left_; i < right_; ++i) {
      const int64_t begin = std::max(i * block_.stride - 1, first_column_);
      const int64_t end = std::min(i * block_.stride + 2, last_column_);
      const uint8_t* const last = spoiled + end - first_column_;
      if (std::find(spoiled + begin - first_column_, last, 1) == last) continue;
      std::fill_n(sums + (i - left_) * stride, stride, std::numeric_limits<float>::quiet_NaN());
    }
  }

  const IntegerBlock<E>& block_;
  const Step step_;
  const int64_t columns_;
  const Groups between_, out_;
  const int64_t num_places_, num_words_, room_;
  // Columns of results, cells that are computed for them, and columns that these depend on.
  int64_t left_ = 0, right_ = 0, num_cells_ = 0, first_column_ = 0, last_column_ = 0;
  std::vector<const uint32_t*> rows_;
  std::vector<uint8_t> spoiled_, has_spoiled_;
  Scratch<uint32_t> ring_, zeros_;
  Scratch<int16_t> pixels_;
  Scratch<float> scales_;
  Scratch<int16_t> filtered_;
  Scratch<float> sums_;
};

// The channels between.
int64_t check_weights(int64_t channels, const Tensor& expansion, const Tensor& depthwise,
                      const Tensor& projection, const Tensor& factors, int64_t out_channels) {
  constexpr int64_t kRowsOfFilter = 2 * 3 * kPairsOfRow;
  check_shape(depthwise, "depthwise", {-1});
  const int64_t count = depthwise.size(0), hidden = count / kRowsOfFilter;
  STD_TORCH_CHECK(hidden > 0 && count % (kRowsOfFilter * kVector) == 0,
                  "depthwise: expected a multiple of ", kRowsOfFilter * kVector, " numbers, got ",
                  count);
  const int64_t padded = round_up(out_channels, kVector);
  check_shape(expansion, "expansion", {round_up(channels, 2) * hidden});
  check_shape(projection, "projection", {hidden * padded});
  check_shape(factors, "factors", {4 * hidden + (1 + Groups(hidden).count()) * padded});
  check_dtype(expansion, "expansion", ScalarType::Short);
  check_dtype(depthwise, "depthwise", ScalarType::Short);
  check_dtype(projection, "projection", ScalarType::Short);
  check_dtype(factors, "factors", ScalarType::Float);
  return hidden;
}

Tensor inverted_residual_int16(const Tensor& input, const Tensor& expansion,
                               const Tensor& depthwise, const Tensor& projection,
                               const Tensor& factors, int64_t out_channels, int64_t stride,
                               bool adds_input) {
  check_maps(input, out_channels, stride, adds_input);
  const int64_t n = input.size(0), c = input.size(1), h = input.size(2), w = input.size(3);
  const int64_t hidden = check_weights(c, expansion, depthwise, projection, factors, out_channels);
  const Tensor pixels = channels_last(input);
  const Tensor expanding = torch::stable::contiguous(expansion);
  const Tensor filters = torch::stable::contiguous(depthwise);
  const Tensor projecting = torch::stable::contiguous(projection);
  const Tensor scales = torch::stable::contiguous(factors);
  Tensor output = torch::stable::new_empty(
      input, {n, (h - 1) / stride + 1, (w - 1) / stride + 1, out_channels});
  const auto run = [&](auto element) {
    using E = decltype(element);
    compute_bands<IntegerBand<E>>(IntegerBlock<E>{
        n, c, h, w, hidden, out_channels, stride, adds_input,
        static_cast<const E*>(pixels.const_data_ptr()), expanding.const_data_ptr<int16_t>(),
        filters.const_data_ptr<int16_t>(), projecting.const_data_ptr<int16_t>(),
        scales.const_data_ptr<float>(), static_cast<E*>(output.mutable_data_ptr())});
  };
  if (output.numel() > 0) {
    input.scalar_type() == ScalarType::Float ? run(float{}) : run(BFloat16{});
  }
  return torch::stable::transpose(torch::stable::transpose(output, 2, 3), 1, 2);
}

STABLE_TORCH_LIBRARY_IMPL(CM_NAMESPACE, CPU, m) {
  if (serves_integers()) m.impl("inverted_residual_int16", TORCH_BOX(&inverted_residual_int16));
}

}  // namespace
}  // namespace centermask
