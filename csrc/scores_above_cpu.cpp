// The few scores of a map that exceed a threshold, without computing all of them: logits are
// compared with a bound that is surely too low, and only the sigmoids of those above it computed.
// Pieces of the map are looked through on their own and joined in order.
#include <algorithm>
#include <array>
#include <cmath>
#include <cstdint>
#include <limits>
#include <tuple>
#include <utility>
#include <vector>

#include "stable_util.h"
#include "storage.h"

namespace centermask {
namespace {

constexpr int64_t kValuesPerPiece = 32768;
constexpr int64_t kBlock = 64;

// Writes the indices of values that are not at most `least`, ascending; returns how many. NaN
// for `least` finds all. As most blocks have none, they are first looked at as a whole.
template <typename E, typename T>
CM_ALWAYS_INLINE int64_t find_all(const E* values, int64_t count, T least, int32_t* found) {
  int64_t num_found = 0;
  for (int64_t first = 0; first < count; first += kBlock) {
    const int64_t size = std::min(kBlock, count - first);
    const E* block = values + first;
    int any = 0;
    for (int64_t i = 0; i < size; ++i) any |= !(widened(block[i]) <= least);
    if (!any) continue;
    for (int64_t i = 0; i < size; ++i) {
      found[num_found] = static_cast<int32_t>(first + i);
      num_found += !(widened(block[i]) <= least);
    }
  }
  return num_found;
}

CM_TARGET_CLONES int64_t find(const float* values, int64_t count, float least, int32_t* found) {
  return find_all(values, count, least, found);
}

CM_TARGET_CLONES int64_t find(const double* values, int64_t count, double least, int32_t* found) {
  return find_all(values, count, least, found);
}

CM_TARGET_CLONES int64_t find(const BFloat16* values, int64_t count, float least, int32_t* found) {
  return find_all(values, count, least, found);
}

// A logit that a score above the threshold exceeds, however sigmoids are rounded; NaN: any may.
double least_logit(double threshold) {
  constexpr double kMargin = 0.05, kRounding = 1e-6, kSmallest = 1e-30;
  const double p = std::min(threshold, 1.0) - kRounding;
  return p > kSmallest ? std::log(p / (1 - p)) - kMargin : std::numeric_limits<double>::quiet_NaN();
}

// A logit and its place in the order image, row, column, channel.
template <typename T>
struct Hit {
  int64_t place;
  T logit;
};

struct MapSize {
  int64_t num_images, channels, num_cells;

  int64_t numel() const { return num_images * channels * num_cells; }
};

// Calls visit(piece, hits) for each piece of the map, on all threads.
template <typename Visit>
void for_each_piece(int64_t num_pieces, const Visit& visit) {
  torch::stable::parallel_for(0, num_pieces, 1, [&](int64_t begin, int64_t end) {
    std::vector<int32_t> found(kValuesPerPiece);
    for (int64_t piece = begin; piece < end; ++piece) visit(piece, found.data());
  });
}

// Of a map in which places and memory have one order.
template <typename E, typename T>
std::vector<std::vector<Hit<T>>> hits_in_order(const E* logits, const MapSize& s, T least) {
  std::vector<std::vector<Hit<T>>> hits((s.numel() + kValuesPerPiece - 1) / kValuesPerPiece);
  for_each_piece(hits.size(), [&](int64_t piece, int32_t* found) {
    const int64_t first = piece * kValuesPerPiece;
    const int64_t count = std::min(kValuesPerPiece, s.numel() - first);
    const int64_t num_found = find(logits + first, count, least, found);
    hits[piece].resize(num_found);
    for (int64_t i = 0; i < num_found; ++i) {
      hits[piece][i] = {first + found[i], T(widened(logits[first + found[i]]))};
    }
  });
  return hits;
}

// Of a map of planes: a piece is all channels of some cells. Hits come channel by channel and are
// put in order by counting those of each cell.
template <typename E, typename T>
std::vector<std::vector<Hit<T>>> hits_of_planes(const E* logits, const MapSize& s, T least) {
  constexpr int64_t kCells = 512;
  const int64_t per_image = (s.num_cells + kCells - 1) / kCells;
  std::vector<std::vector<Hit<T>>> hits(s.num_images * per_image);
  for_each_piece(hits.size(), [&](int64_t piece, int32_t* found) {
    const int64_t image = piece / per_image, first = piece % per_image * kCells;
    const int64_t count = std::min(kCells, s.num_cells - first);
    std::array<int64_t, kCells + 1> begins{};
    std::vector<Hit<T>> by_channel;
    for (int64_t c = 0; c < s.channels; ++c) {
      const E* row = logits + (image * s.channels + c) * s.num_cells + first;
      const int64_t num_found = find(row, count, least, found);
      for (int64_t i = 0; i < num_found; ++i) {
        const int64_t cell = image * s.num_cells + first + found[i];
        by_channel.push_back({cell * s.channels + c, T(widened(row[found[i]]))});
        ++begins[found[i] + 1];
      }
    }
    for (int64_t cell = 0; cell < count; ++cell) begins[cell + 1] += begins[cell];
    hits[piece].resize(by_channel.size());
    for (const Hit<T>& hit : by_channel) {
      const int64_t cell = hit.place / s.channels - image * s.num_cells - first;
      hits[piece][begins[cell]++] = hit;
    }
  });
  return hits;
}

// Scores above a threshold, and their places.
template <typename T>
struct Found {
  std::vector<int64_t> places;
  std::vector<T> scores;
};

// Sigmoids of PyTorch's. It computes long tensors in shares, a share for each thread, and what its
// vectors leave over of one by other code: so logits are handed over in pieces that it does not
// share out, with zeros behind the last, and a score depends on its logit alone.
template <typename T>
class Scores {
 public:
  Scores(const Tensor& like, ScalarType type, T threshold)
      : logits_(torch::stable::new_zeros(like, {kMost}, type)),
        pending_logits_(logits_.template mutable_data_ptr<T>()),
        threshold_(threshold) {}

  void add(const Hit<T>& hit) {
    pending_logits_[pending_.size()] = hit.logit;
    pending_.push_back(hit.place);
    if (static_cast<int64_t>(pending_.size()) == kMost) compute();
  }

  Found<T> finish() {
    compute();
    return std::move(found_);
  }

 private:
  static constexpr int64_t kMost = 16384, kWhole = 64;

  void compute() {
    const int64_t count = pending_.size(), padded = (count + kWhole - 1) / kWhole * kWhole;
    Tensor piece = torch::stable::narrow(logits_, 0, 0, padded);
    std::array<StableIValue, 1> stack{torch::stable::detail::from(piece)};
    STABLE_TORCH_ERROR_CODE_CHECK(
        torch_call_dispatcher("aten::sigmoid", "", stack.data(), TORCH_ABI_VERSION));
    const Tensor scores = torch::stable::detail::to<Tensor>(stack[0]);
    const T* values = scores.const_data_ptr<T>();
    for (int64_t i = 0; i < count; ++i) {
      if (!(values[i] > threshold_)) continue;
      found_.places.push_back(pending_[i]);
      found_.scores.push_back(values[i]);
    }
    pending_.clear();
  }

  Tensor logits_;
  T* pending_logits_;
  T threshold_;
  std::vector<int64_t> pending_;
  Found<T> found_;
};

// (image, location, class) of each place; a location is one prediction of a cell.
void write_places(const std::vector<int64_t>& places, int64_t width, int64_t num_locations,
                  int64_t* to) {
  const int64_t count = places.size();
  int64_t row = 0, image = 0;
  // Divisions only where the row is another one: where much is found, that is rare.
  for (int64_t i = 0; i < count; ++i) {
    if (places[i] - row * width >= width) row = places[i] / width;
    if (row - image * num_locations >= num_locations) image = row / num_locations;
    to[i] = image;
    to[count + i] = row - image * num_locations;
    to[2 * count + i] = places[i] - row * width;
  }
}

std::tuple<Tensor, Tensor> scores_above(const Tensor& logits, int64_t width, double threshold) {
  check_shape(logits, "logits", {-1, -1, -1, -1});
  const int64_t channels = logits.size(1);
  STD_TORCH_CHECK(width > 0 && channels % width == 0, "width: expected a divisor of ", channels,
                  ", got ", width);
  const MapSize size{logits.size(0), channels, logits.size(2) * logits.size(3)};
  const bool in_order = is_dense(logits, {0, 2, 3, 1});
  const Tensor dense = in_order ? logits : torch::stable::contiguous(logits);
  Tensor places, scores;
  for_element(logits, "logits", [&](auto element, auto zero) {
    using E = decltype(element);
    using T = decltype(zero);
    const E* values = static_cast<const E*>(dense.const_data_ptr());
    const T least = static_cast<T>(least_logit(threshold));
    const ScalarType type = precise_type(logits);
    Scores<T> above(logits, type, static_cast<T>(threshold));
    const auto hits =
        in_order ? hits_in_order(values, size, least) : hits_of_planes(values, size, least);
    for (const auto& piece : hits) {
      for (const Hit<T>& hit : piece) above.add(hit);
    }
    const Found<T> found = above.finish();
    const int64_t count = found.places.size();
    places = torch::stable::new_empty(logits, {3, count}, ScalarType::Long);
    scores = torch::stable::new_empty(logits, {count}, type);
    write_places(found.places, width, size.num_cells * (channels / width),
                 places.mutable_data_ptr<int64_t>());
    std::copy(found.scores.begin(), found.scores.end(), scores.mutable_data_ptr<T>());
  });
  return {places, scores};
}

STABLE_TORCH_LIBRARY_IMPL(CM_NAMESPACE, CPU, m) {
  m.impl("scores_above", TORCH_BOX(&scores_above));
}

}  // namespace
}  // namespace centermask
