// Checks and dispatch on the element type for kernels on the LibTorch stable ABI.
#pragma once

#include <torch/csrc/stable/library.h>
#include <torch/csrc/stable/ops.h>
#include <torch/csrc/stable/tensor.h>
#include <torch/headeronly/core/ScalarType.h>
#include <torch/headeronly/util/Exception.h>
#include <torch/headeronly/util/shim_utils.h>

#include <cmath>
#include <cstdint>
#include <initializer_list>
#include <sstream>
#include <string>

// Earlier releases have it under another name, and it tells less there.
#if !defined(STABLE_TORCH_ERROR_CODE_CHECK)
#define STABLE_TORCH_ERROR_CODE_CHECK TORCH_ERROR_CODE_CHECK
#endif

namespace centermask {

using torch::headeronly::ScalarType;
using torch::stable::Tensor;

inline std::string shape_of(const Tensor& tensor) {
  std::ostringstream text;
  text << '(';
  for (int64_t axis = 0; axis < tensor.dim(); ++axis)
    text << (axis ? ", " : "") << tensor.size(axis);
  text << ')';
  return text.str();
}

// Shapes are checked before anything else: an error inside the ABI would print a C++ backtrace.
// A side of -1 may have any length.
inline void check_shape(const Tensor& tensor, const char* name,
                        std::initializer_list<int64_t> sides) {
  bool fits = tensor.dim() == static_cast<int64_t>(sides.size());
  int64_t axis = 0;
  for (int64_t side : sides) {
    fits = fits && (side < 0 || tensor.size(axis) == side);
    ++axis;
  }
  if (fits) return;
  std::ostringstream wanted;
  for (int64_t side : sides) {
    if (side < 0) {
      wanted << " *";
    } else {
      wanted << ' ' << side;
    }
  }
  STD_TORCH_CHECK(false, name, ": expected shape [", wanted.str(), " ], got ", shape_of(tensor));
}

inline void check_dtype(const Tensor& tensor, const char* name, ScalarType dtype) {
  STD_TORCH_CHECK(tensor.scalar_type() == dtype, name, ": expected ", toString(dtype), ", got ",
                  toString(tensor.scalar_type()));
}

// For dense float32 tensors on the CPU.
inline void check_finite(const Tensor& tensor, const char* name) {
  const float* values = tensor.const_data_ptr<float>();
  for (int64_t i = 0; i < tensor.numel(); ++i) {
    STD_TORCH_CHECK(std::isfinite(values[i]), name, ": expected finite numbers, got ", values[i]);
  }
}

// PyTorch calls a kernel when any argument is on its device.
inline void check_device(const Tensor& tensor, const char* name, const Tensor& first,
                         const char* first_name) {
  STD_TORCH_CHECK(tensor.device() == first.device(), name, ": expected the device of ", first_name,
                  ", got another one");
}

inline void check_not_negative(int64_t size, const char* name) {
  STD_TORCH_CHECK(size >= 0, name, ": expected at least 0, got ", size);
}

constexpr int64_t kMostElements = int64_t{1} << 40;

// Sides of a tensor to be made: not negative, and so few elements that 64 bits count their bytes.
inline void check_sides(std::initializer_list<int64_t> sides, const char* names) {
  int64_t elements = 1;
  for (int64_t side : sides) {
    STD_TORCH_CHECK(side >= 0, names, ": expected at least 0, got ", side);
    STD_TORCH_CHECK(side <= kMostElements / elements, names,
                    ": expected fewer than 2^40 elements, got a side of ", side);
    elements *= side > 0 ? side : 1;
  }
}

// Calls f with a zero of the element type: float or double.
template <typename F>
void for_floating(const Tensor& tensor, const char* name, const F& f) {
  if (tensor.scalar_type() == ScalarType::Float) {
    f(float{});
  } else {
    STD_TORCH_CHECK(tensor.scalar_type() == ScalarType::Double, name,
                    ": expected float32 or float64, got ", toString(tensor.scalar_type()));
    f(double{});
  }
}

}  // namespace centermask
