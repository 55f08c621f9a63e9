#include <algorithm>
#include <cstdint>
#include <numeric>
#include <optional>
#include <type_traits>
#include <vector>

#include "nms.h"
#include "stable_util.h"

namespace centermask {
namespace {

// Comparing fewer pairs of boxes than this takes less time than waking a thread.
constexpr int64_t kPairsPerThread = 1 << 20;

// Boxes that compete with each other, best first, one array a coordinate. `dead` has the width of
// a coordinate so that the loop over boxes becomes vector code.
template <typename T>
struct Competitors {
  using Flag = std::conditional_t<sizeof(T) == 4, int32_t, int64_t>;
  std::vector<T> x1, y1, x2, y2, area;
  std::vector<Flag> dead;

  void assign(const T* boxes, const int64_t* members, int64_t count) {
    for (auto* values : {&x1, &y1, &x2, &y2, &area}) values->resize(count);
    dead.assign(count, 0);
    for (int64_t i = 0; i < count; ++i) {
      const T* box = boxes + 4 * members[i];
      x1[i] = box[0];
      y1[i] = box[1];
      x2[i] = box[2];
      y2[i] = box[3];
      area[i] = inclusive_area(box[0], box[1], box[2], box[3]);
    }
  }
};

template <typename T>
CM_ALWAYS_INLINE void suppress_all(Competitors<T>& set, T threshold) {
  const int64_t count = static_cast<int64_t>(set.dead.size());
  const T* CM_RESTRICT x1 = set.x1.data();
  const T* CM_RESTRICT y1 = set.y1.data();
  const T* CM_RESTRICT x2 = set.x2.data();
  const T* CM_RESTRICT y2 = set.y2.data();
  const T* CM_RESTRICT area = set.area.data();
  auto* CM_RESTRICT dead = set.dead.data();
  for (int64_t i = 0; i < count; ++i) {
    if (dead[i]) continue;
    const T a_x1 = x1[i], a_y1 = y1[i], a_x2 = x2[i], a_y2 = y2[i], a_area = area[i];
    for (int64_t j = i + 1; j < count; ++j) {
      dead[j] |= suppresses(a_x1, a_y1, a_x2, a_y2, a_area, x1[j], y1[j], x2[j], y2[j], area[j],
                            threshold);
    }
  }
}

CM_TARGET_CLONES void suppress(Competitors<float>& set, float threshold) {
  suppress_all(set, threshold);
}

CM_TARGET_CLONES void suppress(Competitors<double>& set, double threshold) {
  suppress_all(set, threshold);
}

// Positions of the boxes grouped by label, best first within a group, and where groups begin.
struct Groups {
  std::vector<int64_t> members;
  std::vector<int64_t> begins;
};

Groups group_by_label(const int64_t* labels, int64_t count) {
  Groups groups;
  groups.members.resize(count);
  std::iota(groups.members.begin(), groups.members.end(), int64_t{0});
  if (labels != nullptr) {
    std::stable_sort(groups.members.begin(), groups.members.end(),
                     [labels](int64_t a, int64_t b) { return labels[a] < labels[b]; });
  }
  for (int64_t i = 0; i < count; ++i) {
    const bool starts =
        i == 0 || (labels != nullptr && labels[groups.members[i]] != labels[groups.members[i - 1]]);
    if (starts) groups.begins.push_back(i);
  }
  groups.begins.push_back(count);
  return groups;
}

template <typename T>
void keep_in_groups(const T* boxes, const Groups& groups, T threshold, bool* keep) {
  const int64_t num_groups = static_cast<int64_t>(groups.begins.size()) - 1;
  int64_t num_pairs = 0;
  for (int64_t group = 0; group < num_groups; ++group) {
    const int64_t count = groups.begins[group + 1] - groups.begins[group];
    num_pairs += count * count / 2;
  }
  const int64_t pairs_a_group = num_pairs / std::max<int64_t>(num_groups, 1) + 1;
  const int64_t groups_per_thread = kPairsPerThread / pairs_a_group + 1;
  torch::stable::parallel_for(0, num_groups, groups_per_thread, [&](int64_t begin, int64_t end) {
    Competitors<T> set;
    for (int64_t group = begin; group < end; ++group) {
      const int64_t* members = groups.members.data() + groups.begins[group];
      const int64_t count = groups.begins[group + 1] - groups.begins[group];
      set.assign(boxes, members, count);
      suppress(set, threshold);
      for (int64_t i = 0; i < count; ++i) keep[members[i]] = !set.dead[i];
    }
  });
}

Tensor nms_keep(const Tensor& boxes, const std::optional<Tensor>& labels, double threshold) {
  check_shape(boxes, "boxes", {-1, 4});
  const int64_t count = boxes.size(0);
  std::optional<Tensor> dense_labels;
  if (labels.has_value()) {
    check_shape(*labels, "labels", {count});
    check_dtype(*labels, "labels", ScalarType::Long);
    dense_labels = torch::stable::contiguous(*labels);
  }
  const Tensor dense_boxes = torch::stable::contiguous(boxes);
  Tensor keep = torch::stable::new_empty(boxes, {count}, ScalarType::Bool);
  const Groups groups =
      group_by_label(dense_labels ? dense_labels->const_data_ptr<int64_t>() : nullptr, count);
  for_floating(boxes, "boxes", [&](auto zero) {
    using T = decltype(zero);
    keep_in_groups(dense_boxes.const_data_ptr<T>(), groups, static_cast<T>(threshold),
                   keep.mutable_data_ptr<bool>());
  });
  return keep;
}

STABLE_TORCH_LIBRARY_IMPL(CM_NAMESPACE, CPU, m) { m.impl("nms_keep", TORCH_BOX(&nms_keep)); }

}  // namespace
}  // namespace centermask
