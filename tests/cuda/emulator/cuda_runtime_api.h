// Stands in for the toolkit's header: see cuda_runtime.h beside it.
#pragma once

using cudaStream_t = void*;
