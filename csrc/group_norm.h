// What group normalisation makes of the sums of its groups.
#pragma once

#include <cmath>
#include <cstdint>
#include <vector>

namespace centermask {

// Of numbers, and of their squares.
struct Sums {
  double sum = 0, squares = 0;

  void add(const Sums& other) {
    sum += other.sum;
    squares += other.squares;
  }
};

struct Sizes {
  int64_t num_images, channels, num_pixels, num_groups;

  int64_t group_width() const { return channels / num_groups; }
  int64_t group_size() const { return group_width() * num_pixels; }
};

// What every channel of every image is multiplied with, and what is added then.
template <typename T>
struct Affine {
  std::vector<T> scales, shifts;

  Affine(const Sizes& s, const std::vector<Sums>& sums, const T* weight, const T* bias, double eps)
      : scales(s.num_images * s.channels), shifts(scales.size()) {
    const int64_t num_pieces = sums.size() / (s.num_images * s.num_groups);
    const double count = static_cast<double>(s.group_size());
    for (int64_t i = 0; i < static_cast<int64_t>(scales.size()); ++i) {
      const int64_t c = i % s.channels, group = i / s.group_width();
      if (c % s.group_width() == 0) {
        Sums total;
        for (int64_t piece = 0; piece < num_pieces; ++piece) {
          total.add(sums[group * num_pieces + piece]);
        }
        mean_ = total.sum / count;
        const double variance = total.squares / count - mean_ * mean_;
        // Arranged so that NaN stays.
        rstd_ = 1 / std::sqrt((variance < 0 ? 0 : variance) + eps);
      }
      const double scale = rstd_ * weight[c];
      scales[i] = static_cast<T>(scale);
      shifts[i] = static_cast<T>(bias[c] - mean_ * scale);
    }
  }

 private:
  double mean_ = 0, rstd_ = 0;
};

}  // namespace centermask
