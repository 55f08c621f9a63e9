// Run lengths of a binary image as COCO has them: column after column, the first run of zeros.
#pragma once

#include <cstdint>
#include <cstring>
#include <string>
#include <vector>

namespace centermask {

class RunLengths {
 public:
  void clear() {
    counts_.clear();
    begin_ = 0;
    value_ = 0;
  }

  // From this position on, not before any earlier one, pixels have this value.
  void change_to(uint8_t value, int64_t position) {
    if (value == value_) return;
    counts_.push_back(position - begin_);
    begin_ = position;
    value_ = value;
  }

  // Pixels of 0 or 1 from this position on.
  void add(const uint8_t* pixels, int64_t count, int64_t position) {
    constexpr int64_t kWord = sizeof(uint64_t);
    int64_t i = 0;
    while (i < count) {
      const uint64_t same = value_ * 0x0101010101010101u;
      for (; i + kWord <= count; i += kWord) {
        uint64_t word;
        std::memcpy(&word, pixels + i, kWord);
        if (word != same) break;
      }
      while (i < count && pixels[i] == value_) ++i;
      if (i < count) change_to(pixels[i], position + i);
    }
  }

  void finish(int64_t num_pixels) { counts_.push_back(num_pixels - begin_); }

  // COCO's text: from the fourth count on the difference to the last but one; five bits a
  // character from the lowest on, a sixth says that more follow, the last one carries the sign.
  std::string compressed() const {
    std::string text;
    for (size_t i = 0; i < counts_.size(); ++i) {
      int64_t rest = i > 2 ? counts_[i] - counts_[i - 2] : counts_[i];
      for (bool more = true; more;) {
        int64_t bits = rest & 0x1f;
        rest >>= 5;
        more = rest != (bits & 0x10 ? -1 : 0);
        text.push_back(static_cast<char>(48 + bits + (more ? 0x20 : 0)));
      }
    }
    return text;
  }

 private:
  std::vector<int64_t> counts_;
  int64_t begin_ = 0;
  uint8_t value_ = 0;
};

}  // namespace centermask
