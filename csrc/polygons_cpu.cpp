// Polygon groups as masks: cropped to boxes and scaled (the targets of mask heads), and their
// areas.
#include <algorithm>
#include <cstdint>
#include <vector>

#include "polygons.h"
#include "stable_util.h"

namespace centermask {
namespace {

// Fewer would take less time than waking a thread.
constexpr int64_t kMasksPerThread = 128;
constexpr int64_t kLargestSide = 1 << 14;

// Instances as groups of polygons: points (P, 2); polygon q owns the points from
// polygon_begins[q] on, instance g the polygons from instance_begins[g] on.
struct Polygons {
  const float* points;
  const int64_t* polygon_begins;
  const int64_t* instance_begins;
};

// A point in the frame of a canvas; float32, one rounding a step.
struct Frame {
  float x0, y0, x_scale, y_scale;

  FinePoint operator()(const float* point) const {
    return {fine_cell((point[0] - x0) * x_scale), fine_cell((point[1] - y0) * y_scale)};
  }
};

template <typename Visit>
void cross_polygon(const Polygons& polygons, int64_t polygon, const Frame& frame, int64_t height,
                   int64_t width, const Visit& visit) {
  const int64_t begin = polygons.polygon_begins[polygon];
  const int64_t end = polygons.polygon_begins[polygon + 1];
  if (begin == end) return;
  const FinePoint first = frame(polygons.points + 2 * begin);
  FinePoint from = first;
  for (int64_t i = begin + 1; i < end; ++i) {
    const FinePoint to = frame(polygons.points + 2 * i);
    cross_columns(from, to, height, width, visit);
    from = to;
  }
  cross_columns(from, first, height, width, visit);
}

// row ^= flips; sums |= row.
CM_TARGET_CLONES void add_row(const uint8_t* CM_RESTRICT flips, int64_t count,
                              uint8_t* CM_RESTRICT row, uint8_t* CM_RESTRICT sums) {
  for (int64_t i = 0; i < count; ++i) {
    row[i] ^= flips[i];
    sums[i] |= row[i];
  }
}

// A mask (side, side) of 0 and 1: inside is what an odd number of crossings lies above.
class Rasterizer {
 public:
  explicit Rasterizer(int64_t side) : side_(side), flips_((side + 1) * side), row_(side) {}

  void fill(const Polygons& polygons, int64_t instance, const Frame& frame, uint8_t* mask) {
    std::fill(mask, mask + side_ * side_, uint8_t{0});
    for (int64_t polygon = polygons.instance_begins[instance];
         polygon < polygons.instance_begins[instance + 1]; ++polygon) {
      std::fill(flips_.begin(), flips_.end(), uint8_t{0});
      std::fill(row_.begin(), row_.end(), uint8_t{0});
      cross_polygon(polygons, polygon, frame, side_, side_,
                    [this](int64_t column, int64_t row) { flips_[row * side_ + column] ^= 1; });
      for (int64_t row = 0; row < side_; ++row) {
        add_row(flips_.data() + row * side_, side_, row_.data(), mask + row * side_);
      }
    }
  }

 private:
  int64_t side_;
  std::vector<uint8_t> flips_, row_;
};

// Counts the pixels of a polygon group without making them: crossings are sorted by column.
class AreaCounter {
 public:
  int64_t count(const Polygons& polygons, int64_t instance, const Frame& frame, int64_t height,
                int64_t width) {
    crossings_.clear();
    const int64_t begin = polygons.instance_begins[instance];
    const int64_t end = polygons.instance_begins[instance + 1];
    for (int64_t polygon = begin; polygon < end; ++polygon) {
      cross_polygon(polygons, polygon, frame, height, width, [&](int64_t column, int64_t row) {
        crossings_.push_back({column, row, polygon - begin});
      });
    }
    sort_by_column(width);
    inside_.assign(end - begin, 0);
    int64_t area = 0;
    for (int64_t column = 0; column < width; ++column) {
      area += covered(sorted_.data() + begins_[column], sorted_.data() + begins_[column + 1]);
    }
    return area;
  }

 private:
  struct Crossing {
    int64_t column, row, polygon;
  };

  void sort_by_column(int64_t width) {
    begins_.assign(width + 2, 0);
    for (const Crossing& crossing : crossings_) ++begins_[crossing.column + 2];
    for (int64_t column = 2; column < width + 2; ++column) begins_[column] += begins_[column - 1];
    sorted_.resize(crossings_.size());
    for (const Crossing& crossing : crossings_) sorted_[begins_[crossing.column + 1]++] = crossing;
  }

  // Pixels of one column in at least one polygon; each polygon crosses a column evenly often.
  int64_t covered(Crossing* begin, Crossing* end) {
    std::sort(begin, end, [](const Crossing& a, const Crossing& b) { return a.row < b.row; });
    int64_t total = 0, since = 0, num_inside = 0;
    for (const Crossing* crossing = begin; crossing != end; ++crossing) {
      if (num_inside > 0) total += crossing->row - since;
      since = crossing->row;
      uint8_t& inside = inside_[crossing->polygon];
      inside ^= 1;
      num_inside += inside ? 1 : -1;
    }
    return total;
  }

  std::vector<Crossing> crossings_, sorted_;
  std::vector<int64_t> begins_;
  std::vector<uint8_t> inside_;
};

void check_begins(const Tensor& begins, const char* name, int64_t num_parts) {
  const int64_t* values = begins.const_data_ptr<int64_t>();
  const int64_t last = begins.numel() - 1;
  STD_TORCH_CHECK(last >= 0 && values[0] == 0 && values[last] == num_parts, name,
                  ": expected numbers from 0 to ", num_parts);
  for (int64_t i = 0; i < last; ++i) {
    STD_TORCH_CHECK(values[i] <= values[i + 1], name, ": expected ascending numbers, got ",
                    values[i], " before ", values[i + 1]);
  }
}

// The groups and which of them each mask shows, checked and in one piece of memory each.
struct Arguments {
  Tensor points, polygon_begins, instance_begins, instances;

  Arguments(const Tensor& points_in, const Tensor& polygons_in, const Tensor& groups_in,
            const Tensor& instances_in)
      : points(checked(points_in, "points", ScalarType::Float, {-1, 2})),
        polygon_begins(checked(polygons_in, "polygon_begins", ScalarType::Long, {-1})),
        instance_begins(checked(groups_in, "instance_begins", ScalarType::Long, {-1})),
        instances(checked(instances_in, "instances", ScalarType::Long, {-1})) {
    check_finite(points, "points");
    check_begins(polygon_begins, "polygon_begins", points.size(0));
    check_begins(instance_begins, "instance_begins", polygon_begins.size(0) - 1);
    const int64_t* values = instances.const_data_ptr<int64_t>();
    const int64_t count = instance_begins.size(0) - 1;
    for (int64_t i = 0; i < instances.size(0); ++i) {
      STD_TORCH_CHECK(values[i] >= 0 && values[i] < count, "instances: expected indices in [0, ",
                      count, "), got ", values[i]);
    }
  }

  static Tensor checked(const Tensor& tensor, const char* name, ScalarType dtype,
                        std::initializer_list<int64_t> sides) {
    check_shape(tensor, name, sides);
    check_dtype(tensor, name, dtype);
    return torch::stable::contiguous(tensor);
  }

  Polygons polygons() const {
    return {points.const_data_ptr<float>(), polygon_begins.const_data_ptr<int64_t>(),
            instance_begins.const_data_ptr<int64_t>()};
  }
};

Tensor rasterize_polygons(const Tensor& points, const Tensor& polygon_begins,
                          const Tensor& instance_begins, const Tensor& instances,
                          const Tensor& boxes, int64_t side) {
  const Arguments arguments(points, polygon_begins, instance_begins, instances);
  const int64_t num_masks = arguments.instances.size(0);
  const Tensor dense_boxes = Arguments::checked(boxes, "boxes", ScalarType::Float, {num_masks, 4});
  check_finite(dense_boxes, "boxes");
  STD_TORCH_CHECK(side > 0 && side <= kLargestSide, "side: expected 1 to ", kLargestSide, ", got ",
                  side);
  Tensor masks = torch::stable::new_empty(points, {num_masks, side, side}, ScalarType::Bool);
  const Polygons polygons = arguments.polygons();
  const int64_t* members = arguments.instances.const_data_ptr<int64_t>();
  const float* corners = dense_boxes.const_data_ptr<float>();
  uint8_t* pixels = reinterpret_cast<uint8_t*>(masks.mutable_data_ptr<bool>());
  const auto scale = [side](float low, float high) {
    return static_cast<float>(side) / std::max(high - low, 1.0f);
  };
  torch::stable::parallel_for(0, num_masks, kMasksPerThread, [&](int64_t begin, int64_t end) {
    Rasterizer rasterizer(side);
    for (int64_t i = begin; i < end; ++i) {
      const float* box = corners + 4 * i;
      const Frame frame{box[0], box[1], scale(box[0], box[2]), scale(box[1], box[3])};
      rasterizer.fill(polygons, members[i], frame, pixels + i * side * side);
    }
  });
  return masks;
}

Tensor polygon_areas(const Tensor& points, const Tensor& polygon_begins,
                     const Tensor& instance_begins, const Tensor& instances, const Tensor& origins,
                     const Tensor& sizes) {
  const Arguments arguments(points, polygon_begins, instance_begins, instances);
  const int64_t count = arguments.instances.size(0);
  const Tensor dense_origins =
      Arguments::checked(origins, "origins", ScalarType::Float, {count, 2});
  const Tensor dense_sizes = Arguments::checked(sizes, "sizes", ScalarType::Long, {count, 2});
  check_finite(dense_origins, "origins");
  const Polygons polygons = arguments.polygons();
  const int64_t* members = arguments.instances.const_data_ptr<int64_t>();
  const float* corners = dense_origins.const_data_ptr<float>();
  const int64_t* sides = dense_sizes.const_data_ptr<int64_t>();
  for (int64_t i = 0; i < 2 * count; ++i) {
    STD_TORCH_CHECK(sides[i] > 0 && sides[i] <= (1 << 24), "sizes: expected 1 to ", 1 << 24,
                    ", got ", sides[i]);
  }
  Tensor areas = torch::stable::new_empty(points, {count}, ScalarType::Long);
  int64_t* to = areas.mutable_data_ptr<int64_t>();
  torch::stable::parallel_for(0, count, kMasksPerThread, [&](int64_t begin, int64_t end) {
    AreaCounter counter;
    for (int64_t i = begin; i < end; ++i) {
      const Frame frame{corners[2 * i], corners[2 * i + 1], 1.0f, 1.0f};
      to[i] = counter.count(polygons, members[i], frame, sides[2 * i], sides[2 * i + 1]);
    }
  });
  return areas;
}

STABLE_TORCH_LIBRARY_IMPL(CM_NAMESPACE, CPU, m) {
  m.impl("rasterize_polygons", TORCH_BOX(&rasterize_polygons));
  m.impl("polygon_areas", TORCH_BOX(&polygon_areas));
}

}  // namespace
}  // namespace centermask
