"""Faults that the tests of CUDA kernels must notice: small changes of the sources.

Each stands for a mistake that is easily made and hard to see. ``test_mutants.py`` applies them to
copies of csrc/, one at a time, and wants the detector to fail.
"""

from tests.emu.mutants import Mutant

_RACE = r"ThreadSanitizer: data race"
_BEYOND = r"AddressSanitizer: [\w-]+-overflow"

_NMS = (
    Mutant(
        "no barrier before a tile is overwritten",
        "nms",
        "nms.cu",
        "    __syncthreads();\n    if (first + slot",
        "    if (first + slot",
    ),
    Mutant(
        "no barrier after a tile is loaded",
        "nms",
        "nms.cu",
        "first + slot);\n    __syncthreads();",
        "first + slot);",
    ),
    Mutant(
        "no barrier between steps of the sweep",
        "nms",
        "nms.cu",
        "    __syncthreads();\n    for (int64_t i = threadIdx.x",
        "    for (int64_t i = threadIdx.x",
        "thread",
        _RACE,
    ),
    Mutant(
        "early return before a barrier",
        "nms",
        "nms.cu",
        "    __syncthreads();\n    if (first + slot",
        "    if (row >= num_boxes) continue;\n    __syncthreads();\n    if (first + slot",
        report=r"divergent __syncthreads",
    ),
    Mutant(
        "boxes read beyond the last",
        "nms",
        "nms.cu",
        "if (first + slot < num_boxes) load",
        "load",
        "address",
        _BEYOND,
    ),
    Mutant(
        "rows written beyond the last",
        "nms",
        "nms.cu",
        "if (row >= num_boxes) continue;",
        "",
        "address",
        _BEYOND,
    ),
    Mutant("boxes at the threshold go", "nms", "nms.h", ") > threshold;", ") >= threshold;"),
    Mutant(
        "intersections without their last pixel",
        "nms",
        "nms.h",
        "(ax1 > bx1 ? ax1 : bx1) + T(1);",
        "(ax1 > bx1 ? ax1 : bx1);",
    ),
    Mutant("classes compete", "nms", "nms.cu", "label == columns.label[i] &&", ""),
    Mutant("labels of 32 bits", "nms", "nms.cu", "int64_t label[kTile];", "int label[kTile];"),
    Mutant("words of 32 bits", "nms", "nms.cu", "static_cast<uint64_t>(strikes)", "int{strikes}"),
    Mutant(
        "the sweep starts from no zeros",
        "nms",
        "nms.cu",
        "new_zeros(boxes, {num_tiles}",
        "new_empty(boxes, {num_tiles}",
    ),
    Mutant(
        "a block of too many threads",
        "nms",
        "nms.cu",
        "kSweepThreads = 256",
        "kSweepThreads = 2048",
        report=r"impossible launch .* 2048",
    ),
)

_ROI_ALIGN = (
    Mutant(
        "gradients added without atomics",
        "roi_align",
        "roi_align.cu",
        "atomicAdd(output + offset, weight * share);",
        "output[offset] += weight * share;",
        "thread",
        _RACE,
    ),
    Mutant(
        "one value too many",
        "roi_align",
        "roi_align.cu",
        "i < num_values; i += grid_stride()) {\n    const Bin<T> bin = bin_of(g, i);\n    T sum",
        "i <= num_values; i += grid_stride()) {\n    const Bin<T> bin = bin_of(g, i);\n    T sum",
        "address",
        _BEYOND,
    ),
    Mutant(
        "one sample too many",
        "roi_align",
        "roi_align.cu",
        "j < bin.columns.samples_per_bin",
        "j <= bin.columns.samples_per_bin",
    ),
    Mutant(
        "samples at the corners of their cells",
        "roi_align",
        "roi_align.h",
        "(static_cast<T>(sample) + T(0.5))",
        "static_cast<T>(sample)",
    ),
    Mutant(
        "positions not clamped at the border",
        "roi_align",
        "roi_align.h",
        "position = position > T(0) ? position : T(0);",
        "",
    ),
    Mutant(
        "a cell beyond the last",
        "roi_align",
        "roi_align.h",
        "if (low >= length - 1)",
        "if (low > length - 1)",
    ),
    Mutant(
        "the stride of the other axis",
        "roi_align",
        "roi_align.cu",
        "visit(offset + s.high * g.column_stride",
        "visit(offset + s.high * g.row_stride",
    ),
    Mutant(
        "offsets of 32 bits",
        "roi_align",
        "roi_align.cu",
        "const int64_t offset = bin.channel_offset",
        "const int offset = bin.channel_offset",
        "address",
        r"AddressSanitizer: SEGV|runtime error",
    ),
    Mutant(
        "indices of threads of 32 bits",
        "roi_align",
        "cuda_launch.h",
        "static_cast<int64_t>(blockIdx.x) * blockDim.x",
        "blockIdx.x * blockDim.x",
        report=r"FAILED grid_begin",
    ),
    Mutant(
        "weight nothing, infinity counts",
        "roi_align",
        "roi_align.cu",
        "if (s.high_weight != T(0)) {",
        "{",
    ),
    Mutant(
        "no half-pixel shift",
        "roi_align",
        "roi_align.h",
        "const T shift = aligned ? T(0.5) : T(0);",
        "const T shift = T(0);",
    ),
    Mutant(
        "aligned sides of at least one cell",
        "roi_align",
        "roi_align.h",
        "!aligned && extent < T(1)",
        "extent < T(1)",
    ),
    Mutant(
        "a fraction of no samples",
        "roi_align",
        "roi_align.cu",
        "return samples > T(0) ? samples : T(1);",
        "return samples;",
    ),
    Mutant(
        "rois of no image pool the first",
        "roi_align",
        "roi_align.cu",
        "bin.has_image ? sum / samples_of(bin) : T(NAN)",
        "sum / samples_of(bin)",
    ),
    Mutant(
        "gradients start from no zeros",
        "roi_align",
        "roi_align.cu",
        "new_zeros(grad, {batch_size",
        "new_empty(grad, {batch_size",
    ),
)

_ROI_POOL = (
    Mutant(
        "of equal values the last",
        "roi_pool",
        "roi_pool.cu",
        "value <= best",
        "value < best",
    ),
    Mutant(
        "bins without their last cells",
        "roi_pool",
        "roi_pool.h",
        "std::ceil(static_cast<T>(bin + 1)",
        "std::floor(static_cast<T>(bin + 1)",
    ),
    Mutant(
        "cells beyond the map",
        "roi_pool",
        "roi_pool.h",
        "return cell < static_cast<T>(length) ? static_cast<int64_t>(cell) : length;",
        "return static_cast<int64_t>(cell < T(1e6) ? cell : T(1e6));",
        "address",
        r"AddressSanitizer|runtime error",
    ),
    Mutant(
        "maxima's gradients added without atomics",
        "roi_pool",
        "roi_pool.cu",
        "atomicAdd(output + (image * g.channels + g.channel_of(i)) * num_cells + argmax[i], "
        "grad[i]);",
        "output[(image * g.channels + g.channel_of(i)) * num_cells + argmax[i]] += grad[i];",
        "thread",
        _RACE,
    ),
)

_FOCAL = (
    Mutant(
        "alpha and 1 - alpha swapped",
        "sigmoid_focal_loss",
        "sigmoid_focal_loss.cu",
        "Role<T>{T(1), alpha} : Role<T>{T(-1), T(1) - alpha}",
        "Role<T>{T(1), T(1) - alpha} : Role<T>{T(-1), alpha}",
    ),
    Mutant(
        "classes that count from zero",
        "sigmoid_focal_loss",
        "sigmoid_focal_loss.cu",
        "target == column + 1",
        "target == column",
    ),
    Mutant(
        "slopes of negatives with the sign of positives",
        "sigmoid_focal_loss",
        "sigmoid_focal_loss.cu",
        "role.sign * focal_loss_slope(",
        "focal_loss_slope(",
    ),
    Mutant(
        "no barrier between the steps of a sum",
        "sigmoid_focal_loss",
        "sigmoid_focal_loss.cu",
        "    __syncthreads();\n    if (threadIdx.x < half)",
        "    if (threadIdx.x < half)",
        "thread",
        _RACE,
    ),
    Mutant(
        "sums of the first block alone",
        "sigmoid_focal_loss",
        "sigmoid_focal_loss.cu",
        "block_sums[blockIdx.x] = sum",
        "block_sums[0] = sum",
    ),
    Mutant(
        "one pass over the grid only",
        "sigmoid_focal_loss",
        "sigmoid_focal_loss.cu",
        "i < count; i += grid_stride()) {\n    const int64_t row",
        "i < count; i += count) {\n    const int64_t row",
    ),
    Mutant(
        "ignored rows cost something",
        "sigmoid_focal_loss",
        "sigmoid_focal_loss.cu",
        "output[i] = target == -1 ? T(0) : focal_loss(",
        "output[i] = focal_loss(",
    ),
)

_DEFORM_CONV = (
    Mutant(
        "no barrier before threads' sums are added",
        "deform_conv",
        "deform_conv.cu",
        "    __syncthreads();\n    if (threadIdx.x < 4)",
        "    if (threadIdx.x < 4)",
    ),
    Mutant(
        "no barrier before the sums are used",
        "deform_conv",
        "deform_conv.cu",
        "    __syncthreads();\n    if (threadIdx.x != 0) continue;",
        "    if (threadIdx.x != 0) continue;",
        "thread",
        _RACE,
    ),
    Mutant(
        "cells beside the map read",
        "deform_conv",
        "deform_conv.h",
        "has_bottom && has_right ?",
        "true ?",
        "address",
        r"AddressSanitizer|runtime error",
    ),
    Mutant(
        "gradients of samples added without atomics",
        "deform_conv",
        "deform_conv.cu",
        "atomicAdd(grad_image + around.cell[k] * g.channels + s.channel, around.weight(k) * "
        "share);",
        "grad_image[around.cell[k] * g.channels + s.channel] += around.weight(k) * share;",
        "thread",
        _RACE,
    ),
    Mutant(
        "taps of the other axis",
        "deform_conv",
        "deform_conv.h",
        "tap / g.kernel_width * g.dilation_height",
        "tap % g.kernel_width * g.dilation_height",
    ),
)

_DEFORM_PSROI_POOLING = (
    Mutant(
        "gradients of offsets added without atomics",
        "deform_psroi_pooling",
        "deform_psroi_pooling.cu",
        "atomicAdd(grad_offset + bin.offset_index, right * share * bin.columns.extent);",
        "grad_offset[bin.offset_index] += right * share * bin.columns.extent;",
        "thread",
        _RACE,
    ),
    Mutant(
        "samples not clamped to the last cell",
        "deform_psroi_pooling",
        "deform_psroi_pooling.h",
        "(place > last ? last : place)",
        "place",
    ),
    Mutant(
        "a share of all samples, not of those that count",
        "deform_psroi_pooling",
        "deform_psroi_pooling.cu",
        "count += T(1);\n    });\n    // Nobody",
        "count = T(g.samples_per_part * g.samples_per_part);\n    });\n    // Nobody",
    ),
)

MUTANTS: tuple[Mutant, ...] = (
    *_DEFORM_CONV,
    *_DEFORM_PSROI_POOLING,
    *_NMS,
    *_ROI_ALIGN,
    *_ROI_POOL,
    *_FOCAL,
)
