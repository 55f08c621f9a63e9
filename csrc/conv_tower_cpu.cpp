// Towers of 3 x 3 convolutions over maps of several sizes. A convolution adds up its results, and
// the next one normalises them as it reads them, so that group normalisation takes no pass of its
// own.
//
// Symbols: N images, C channels of the maps, H x W cells, K output channels; a part is a map of one
// image.
#include <algorithm>
#include <cstdint>
#include <optional>
#include <vector>

#include "channel_blocks.h"
#include "channels_last.h"
#include "group_norm.h"
#include "integer_products.h"
#include "stable_util.h"
#include "winograd_convolve.h"

namespace centermask {
namespace {

using winograd::Convolution;
using winograd::Level;
using winograd::num_weights;
using winograd::Slice;

// Channels whose sums a task adds up.
constexpr int64_t kChannelsOfTask = 64;

struct Norm {
  int64_t num_groups;
  double eps;
  // For each convolution the weights of its channels, and then what is added; or null.
  const float* parameters;
};

// What the next convolution multiplies maps with, and adds: parts x C each.
struct Scaling {
  std::vector<float> factors, offsets;
};

// A map of one image, and the first of its tiles.
struct Part {
  const Level<float>* level;
  int64_t first_tile;
};

std::vector<Part> parts_of(const std::vector<Level<float>>& levels) {
  std::vector<Part> parts;
  int64_t tile = 0;
  for (const Level<float>& level : levels) {
    for (int64_t image = 0; image < level.num_images; ++image) {
      parts.push_back({&level, tile});
      tile += level.tiles_of_image();
    }
  }
  return parts;
}

// sums += those of a tile of `count` results, from what they add up to and their variations.
CM_TARGET_CLONES void add_tile(const float* CM_RESTRICT totals, const float* CM_RESTRICT variations,
                               int64_t channels, double count, double* CM_RESTRICT sums,
                               double* CM_RESTRICT squares) {
  for (int64_t c = 0; c < channels; ++c) {
    const double total = totals[c];
    sums[c] += total;
    squares[c] += variations[c] + total * total / count;
  }
}

// Of each channel of each part, from those of the tiles: parts x C each.
struct ChannelSums {
  std::vector<double> sums, squares;

  ChannelSums(const Convolution<float>& conv, const std::vector<Part>& parts)
      : sums(parts.size() * conv.channels), squares(sums.size()) {
    const int64_t per_part = (conv.channels + kChannelsOfTask - 1) / kChannelsOfTask;
    const int64_t num_tasks = static_cast<int64_t>(parts.size()) * per_part;
    torch::stable::parallel_for(0, num_tasks, 1, [&](int64_t begin, int64_t end) {
      for (int64_t task = begin; task < end; ++task) {
        const int64_t part = task / per_part, first = task % per_part * kChannelsOfTask;
        add_part(conv, parts[part], first, part * conv.channels + first);
      }
    });
  }

  // Of the channels of a task from `first` on.
  void add_part(const Convolution<float>& conv, const Part& part, int64_t first, int64_t target) {
    const int64_t count = std::min(kChannelsOfTask, conv.channels - first);
    const int64_t width = conv.num_out_vectors() * kVector;
    for (int64_t i = 0; i < part.level->tiles_of_image(); ++i) {
      const int64_t tile = part.first_tile + i;
      const winograd::Place<float> place(conv, tile);
      const float* totals = conv.sums + 2 * tile * width + first;
      add_tile(totals, totals + width, count,
               static_cast<double>(place.num_rows * place.num_columns), &sums[target],
               &squares[target]);
    }
  }
};

// For the results of a convolution of C output channels, with sums; `parameters`: 2 x C.
Scaling scaling_of(const Convolution<float>& conv, const Norm& norm, const float* parameters) {
  const int64_t channels = conv.channels;
  const std::vector<Part> parts = parts_of(conv.levels);
  const ChannelSums of_channels(conv, parts);
  Scaling scaling;
  for (size_t part = 0; part < parts.size(); ++part) {
    const Level<float>& level = *parts[part].level;
    const Sizes sizes{1, channels, level.out_height() * level.out_width(), norm.num_groups};
    std::vector<Sums> of_groups(norm.num_groups);
    for (int64_t c = 0; c < channels; ++c) {
      const int64_t index = part * channels + c;
      of_groups[c / sizes.group_width()].add({of_channels.sums[index], of_channels.squares[index]});
    }
    const Affine<float> affine(sizes, of_groups, parameters, parameters + channels, norm.eps);
    scaling.factors.insert(scaling.factors.end(), affine.scales.begin(), affine.scales.end());
    scaling.offsets.insert(scaling.offsets.end(), affine.shifts.begin(), affine.shifts.end());
  }
  return scaling;
}

// Weights of the convolutions of a tower, one after the other: floats, or integers and their
// scales.
struct Weights {
  const float* floats;
  const int16_t* integers;
  const float* scales;
  // From one convolution to the next.
  int64_t stride, scale_stride;

  void convolve(const Convolution<float>& conv, int64_t index) const {
    if (floats != nullptr) {
      winograd::convolve(conv, floats + index * stride);
    } else {
      winograd::convolve(conv, integers + index * stride, scales + index * scale_stride);
    }
  }
};

// Results of a convolution, as the next one reads them.
void read_outputs(Convolution<float>& conv, const Scaling& scaling) {
  int64_t first = 0;
  for (Level<float>& level : conv.levels) {
    level.input = level.outputs[0];
    if (scaling.factors.empty()) continue;
    level.factors = scaling.factors.data() + first;
    level.offsets = scaling.offsets.data() + first;
    first += level.num_images * conv.channels;
  }
}

struct Tower {
  int64_t channels, num_convs;
  Weights weights;
  const float* bias;
  Norm norm;
  // Of the last convolutions.
  std::vector<Slice> slices;

  // `levels` have inputs, and outputs of the last convolutions; `between` holds all inputs once for
  // one convolution before these, and twice for several.
  void run(const std::vector<Level<float>>& levels, float* between) const {
    const bool normalizes = norm.parameters != nullptr;
    const std::vector<float> zeros(channels);
    Convolution<float> conv{channels,     !normalizes, levels, {{0, channels}},
                            zeros.data(), bias,        nullptr};
    std::vector<float> sums;
    if (normalizes) {
      sums.resize(2 * conv.num_tiles() * conv.num_out_vectors() * kVector);
      conv.sums = sums.data();
    }
    Scaling scaling;
    float* halves[] = {between, between};
    for (const Level<float>& level : levels) halves[1] += num_values(level);
    for (int64_t index = 0; index < num_convs; ++index) {
      float* target = halves[index % 2];
      for (Level<float>& level : conv.levels) {
        level.outputs = {target};
        target += num_values(level);
      }
      weights.convolve(conv, index);
      if (normalizes) scaling = scaling_of(conv, norm, norm.parameters + 2 * index * channels);
      read_outputs(conv, scaling);
      conv.bias += round_up(channels, kVector);
    }
    conv.relu = false;
    conv.sums = nullptr;
    conv.slices = slices;
    for (size_t i = 0; i < levels.size(); ++i) conv.levels[i].outputs = levels[i].outputs;
    weights.convolve(conv, num_convs);
  }

  int64_t num_values(const Level<float>& level) const {
    return level.num_images * level.height * level.width * channels;
  }
};

// Channels of the maps, which are checked.
int64_t checked_channels(const std::vector<Tensor>& maps) {
  STD_TORCH_CHECK(!maps.empty(), "maps: expected at least one, got none");
  for (const Tensor& map : maps) {
    check_shape(map, "maps", {-1, maps[0].dim() == 4 ? maps[0].size(1) : -1, -1, -1});
    check_dtype(map, "maps", ScalarType::Float);
    check_device(map, "maps", maps[0], "the first of them");
    STD_TORCH_CHECK(map.size(2) >= 1 && map.size(3) >= 1, "maps: expected at least one cell, got ",
                    shape_of(map));
  }
  STD_TORCH_CHECK(maps[0].size(1) >= 1, "maps: expected at least one channel, got ",
                  shape_of(maps[0]));
  return maps[0].size(1);
}

// The weights of a tower of C channels between, and of `outputs` at the end, padded.
Weights checked_weights(const Tensor& weight, const std::optional<Tensor>& scale, int64_t channels,
                        int64_t num_convs, int64_t outputs) {
  check_sides({num_convs, winograd::kPoints, channels, round_up(channels, kVector)}, "num_convs");
  check_sides({winograd::kPoints, round_up(channels, 2), outputs}, "widths");
  const auto count = [&](int64_t rows) {
    return num_convs * num_weights(rows, channels) + num_weights(rows, outputs);
  };
  if (!scale) {
    check_shape(weight, "weight", {count(channels)});
    check_dtype(weight, "weight", ScalarType::Float);
    return {weight.const_data_ptr<float>(), nullptr, nullptr, num_weights(channels, channels), 0};
  }
  const int64_t even = round_up(channels, 2), depths = (channels + kDepth - 1) / kDepth;
  check_shape(weight, "weight", {count(even)});
  check_dtype(weight, "weight", ScalarType::Short);
  check_shape(*scale, "scale", {count(depths)});
  check_dtype(*scale, "scale", ScalarType::Float);
  return {nullptr, weight.const_data_ptr<int16_t>(), scale->const_data_ptr<float>(),
          num_weights(even, channels), num_weights(depths, channels)};
}

Norm checked_norm(const std::optional<Tensor>& norm, int64_t channels, int64_t num_convs,
                  int64_t num_groups, double eps) {
  if (!norm) return {1, eps, nullptr};
  check_shape(*norm, "norm", {num_convs, 2, channels});
  check_dtype(*norm, "norm", ScalarType::Float);
  STD_TORCH_CHECK(num_groups > 0 && channels % num_groups == 0,
                  "num_groups: expected a divisor of ", channels, ", got ", num_groups);
  return {num_groups, eps, norm->const_data_ptr<float>()};
}

std::vector<Slice> checked_slices(const std::vector<int64_t>& widths) {
  std::vector<Slice> slices;
  int64_t begin = 0;
  STD_TORCH_CHECK(!widths.empty(), "widths: expected at least one, got none");
  for (const int64_t width : widths) {
    STD_TORCH_CHECK(width >= 1 && width <= kMostElements, "widths: expected 1 to 2^40, got ",
                    width);
    slices.push_back({begin, width});
    begin += round_up(width, kVector);
  }
  return slices;
}

std::optional<Tensor> contiguous(const std::optional<Tensor>& tensor) {
  if (!tensor) return std::nullopt;
  return torch::stable::contiguous(*tensor);
}

std::vector<Tensor> conv_tower(std::vector<Tensor> maps, const Tensor& weight,
                               const std::optional<Tensor>& scale, const Tensor& bias,
                               const std::optional<Tensor>& norm, int64_t num_convs,
                               int64_t num_groups, double eps, std::vector<int64_t> widths) {
  const int64_t channels = checked_channels(maps);
  const std::vector<Slice> slices = checked_slices(widths);
  const int64_t outputs = slices.back().begin + round_up(slices.back().channels, kVector);
  const Tensor packed = torch::stable::contiguous(weight);
  const std::optional<Tensor> scales = contiguous(scale), norms = contiguous(norm);
  const Weights weights = checked_weights(packed, scales, channels, num_convs, outputs);
  check_shape(bias, "bias", {num_convs * round_up(channels, kVector) + outputs});
  check_dtype(bias, "bias", ScalarType::Float);
  const Tensor biases = torch::stable::contiguous(bias);
  const Tower tower{channels,
                    num_convs,
                    weights,
                    biases.const_data_ptr<float>(),
                    checked_norm(norms, channels, num_convs, num_groups, eps),
                    slices};
  std::vector<Tensor> inputs, results;
  std::vector<Level<float>> levels;
  int64_t num_values = 0;
  for (const Tensor& map : maps) {
    const int64_t n = map.size(0), h = map.size(2), w = map.size(3);
    inputs.push_back(channels_last(map));
    levels.push_back({n, h, w, 1, inputs.back().const_data_ptr<float>(), nullptr, nullptr, {}});
    num_values += map.numel();
    for (const int64_t width : widths) {
      check_sides({n, h, w, width}, "widths");
      Tensor result = torch::stable::new_empty(map, {n, h, w, width});
      levels.back().outputs.push_back(result.mutable_data_ptr<float>());
      results.push_back(torch::stable::transpose(torch::stable::transpose(result, 2, 3), 1, 2));
    }
  }
  const int64_t num_buffers = std::min<int64_t>(num_convs, 2);
  Tensor between = torch::stable::new_empty(maps[0], {num_buffers * num_values});
  if (num_values > 0) tower.run(levels, between.mutable_data_ptr<float>());
  return results;
}

STABLE_TORCH_LIBRARY_IMPL(CM_NAMESPACE, CPU, m) { m.impl("conv_tower", TORCH_BOX(&conv_tower)); }

}  // namespace
}  // namespace centermask
