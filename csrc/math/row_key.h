// Where a row's random numbers begin: the key and the counter of Philox (philox.h).
#pragma once

#include "../args/tangent_normal.h"
#include "elementary.h"

FK_BEGIN

struct RowKey {
  uint32_t low, high;          // the key: the seed
  uint32_t row_low, row_high;  // of the counter: the row among those of its seed
};

FK_HD RowKey key_of(const RowSeeds& random, int64_t row) {
  int64_t seed = 0, counter = row;
  // Most calls have one seed, and a division of 64 bits takes a GPU a hundred instructions.
  if (row >= random.rows_per_seed) {
    seed = row / random.rows_per_seed;
    counter = row - seed * random.rows_per_seed;
  }
  const int64_t key = random.seeds[seed];
  return {static_cast<uint32_t>(key), static_cast<uint32_t>(key >> 32),
          static_cast<uint32_t>(counter), static_cast<uint32_t>(counter >> 32)};
}

FK_END
