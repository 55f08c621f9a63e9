"""CUDA kernels compiled by a C++ compiler and run on the CPU."""
