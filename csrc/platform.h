// What differs between compilers and devices; everything else in csrc/ is plain C++.
#pragma once

// Under torch.ops. Tests build the same sources again under other names.
#ifdef CM_NAMESPACE
#define CM_FOR_TESTS
#else
#define CM_NAMESPACE centermask
#endif

// Functions that CPU kernels and CUDA kernels share carry CM_HOST_DEVICE.
#if defined(__CUDACC__)
#define CM_HOST_DEVICE __host__ __device__ __forceinline__
#define CM_DEVICE __device__ __forceinline__
#elif defined(__GNUC__)
#define CM_HOST_DEVICE inline __attribute__((always_inline))
#else
#define CM_HOST_DEVICE inline
#endif
#ifndef CM_DEVICE
#define CM_DEVICE CM_HOST_DEVICE
#endif

#if defined(__GNUC__)
#define CM_RESTRICT __restrict__
#define CM_ALWAYS_INLINE inline __attribute__((always_inline))
#else
#define CM_RESTRICT
#define CM_ALWAYS_INLINE inline
#endif

// Before a loop of a constant number of turns over arrays that shall become registers: GCC 11 turns
// it into a row of statements too late for that, if nobody says so.
#if defined(__clang__)
#define CM_UNROLL _Pragma("clang loop unroll(full)")
#elif defined(__GNUC__)
#define CM_UNROLL _Pragma("GCC unroll 16")
#else
#define CM_UNROLL
#endif

// Asks for the line of the cache that an address lies in, to read it soon, or to write to it. The
// address may be one where nothing is.
CM_ALWAYS_INLINE void prefetch_to_read(const void* address) {
#if defined(__GNUC__)
  __builtin_prefetch(address);
#endif
}
CM_ALWAYS_INLINE void prefetch_to_write(const void* address) {
#if defined(__GNUC__)
  __builtin_prefetch(address, 1);
#endif
}

// Whether memory can be written past the caches. Sanitizers do not see it.
#if defined(__SSE2__) && !defined(__CUDACC__) && !defined(__SANITIZE_ADDRESS__) && \
    !defined(__SANITIZE_THREAD__)
#include <emmintrin.h>
#define CM_HAS_STREAMS
#endif

// A function marked so is compiled once for each of these instruction sets and the loader picks
// the widest that the processor has: fast here, portable everywhere. What it calls must be
// CM_ALWAYS_INLINE to be compiled along. Tests define it as nothing, to build one level at a time.
// Needs GCC 12 and glibc; for other compilers toolchain.py names one level for all of the library.
#if defined(__x86_64__) && defined(__GNUC__) && !defined(__clang__) && !defined(__CUDACC__) && \
    !defined(CM_TARGET_CLONES)
#if __GNUC__ >= 12 && defined(__linux__) && __has_include(<gnu/libc-version.h>)
#define CM_TARGET_CLONES \
  __attribute__((target_clones("default", "arch=x86-64-v3", "arch=x86-64-v4")))
#define CM_HAS_TARGET_CLONES
#endif
#endif
#ifndef CM_TARGET_CLONES
#define CM_TARGET_CLONES
#endif

// A function marked so is compiled for registers of 64 bytes, whatever the processor; it must be
// called only where has_wide_registers() says so. Compiled for one level alone, it is as the rest.
// What is not so marked is compiled for registers of 32 bytes, where has_registers() says so.
#if defined(CM_HAS_TARGET_CLONES)
#define CM_TARGET_WIDE __attribute__((target("arch=x86-64-v4")))
inline bool has_wide_registers() { return __builtin_cpu_supports("x86-64-v4"); }
inline bool has_registers() { return __builtin_cpu_supports("x86-64-v3"); }
#else
#define CM_TARGET_WIDE
inline bool has_wide_registers() {
#if defined(__AVX512F__)
  return true;
#else
  return false;
#endif
}
inline bool has_registers() {
#if defined(__AVX2__) && defined(__FMA__)
  return true;
#else
  return false;
#endif
}
#endif
