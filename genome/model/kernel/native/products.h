// Rows of a stored matrix times one vector. Each row is summed up in one fixed order, whichever thread does it.
#pragma once

#include "lanes.h"

constexpr int BLOCK = 32;

enum Type { FLOATS, HALVES, BRAINS, BYTES, FOURS, FIVES, FOURS_K, FIVES_K, SIXES };

struct Job {
  Type type;
  int64_t columns;
  const float* x;         // (columns,)
  const float* sums;      // of x by blocks, as `by_groups` lays them out; only for types with minima
  const uint8_t* values;  // the numbers, or pairs of four bits
  const uint8_t* high;
  const uint8_t* scale;
  const uint8_t* minimum;
  const uint16_t* outer;
  const uint16_t* outer_minimum;
  float* out;  // (rows,)
};

// Scales are read sixteen blocks at a time. Where a row's blocks are no multiple of that, the last group begins
// earlier and skips those that were used before; a row of fewer than sixteen is one short group.
struct Group {
  int64_t begin;
  int skip, end;
};
INLINE int64_t groups(int64_t blocks) { return (blocks + STRIP - 1) / STRIP; }
INLINE Group group(int64_t blocks, int64_t number) {
  int64_t begin = number * STRIP;
  if (begin + STRIP <= blocks) return {begin, 0, STRIP};
  if (blocks < STRIP) return {0, 0, (int)blocks};
  return {blocks - STRIP, (int)(begin - (blocks - STRIP)), STRIP};
}

static void by_groups(const float* x, int64_t blocks, float* sums) {
  for (int64_t g = 0; g < groups(blocks); ++g) {
    Group here = group(blocks, g);
    for (int i = 0; i < STRIP; ++i) {
      const float* at = x + (here.begin + i) * BLOCK;
      sums[g * STRIP + i] = i < here.skip || i >= here.end ? 0 : sum(plus(load(at), load(at + STRIP)));
    }
  }
}

// Sixteen numbers, the last ones zero where the row has fewer.
template <typename T>
INLINE const T* sixteen(const T* p, int count, T* room) {
  if (count == STRIP) return p;
  memset(room, 0, STRIP * sizeof(T));
  memcpy(room, p, count * sizeof(T));
  return room;
}
INLINE F some_halves(const uint8_t* p, int64_t begin, int count) {
  uint16_t room[STRIP];
  return halves(sixteen((const uint16_t*)p + begin, count, room));
}
// Small integers times the larger numbers that stand for `each` of them.
INLINE F times_outer(F inner, const uint16_t* outer, int each, int count) {
  float all[STRIP];
  for (int i = 0; i < STRIP; ++i) all[i] = 0;
  for (int i = 0; i < count; i += each) {
    float one = half(outer[i / each]);
    for (int j = 0; j < each; ++j) all[i + j] = one;
  }
  return times(inner, load(all));
}

template <Type TYPE>
struct Nibbles {
  static constexpr bool outer = TYPE >= FOURS_K, six = TYPE == SIXES, five = TYPE == FIVES || TYPE == FIVES_K;
  static constexpr int per_block = six ? 2 : 1;

  INLINE void scales(const Job& job, int64_t row, int64_t blocks, Group here, float* out) {
    int count = here.end;
    if constexpr (!outer) {
      store(out, some_halves(job.scale, row * blocks + here.begin, count));
    } else if constexpr (!six) {
      uint8_t room[STRIP];
      F inner = plain_bytes(sixteen(job.scale + row * blocks + here.begin, count, room));
      store(out, times_outer(inner, job.outer + (row * blocks + here.begin) / 8, 8, count));
    } else {
      const int8_t* inner = (const int8_t*)job.scale + (row * blocks + here.begin) * 2;
      for (int i = 0; i < 2 * count; i += STRIP) {
        int64_t at = (row * blocks + here.begin) * 2 + i;
        store(out + i, times(signed_bytes(inner + i), spread(half(job.outer[at / 16]))));
      }
    }
  }
  INLINE F minima(const Job& job, int64_t row, int64_t blocks, Group here) {
    int64_t at = row * blocks + here.begin;
    if constexpr (!outer) return some_halves(job.minimum, at, here.end);
    uint8_t room[STRIP];
    F inner = plain_bytes(sixteen(job.minimum + at, here.end, room));
    return times_outer(inner, job.outer_minimum + at / 8, 8, here.end);
  }

  INLINE float row(const Job& job, int64_t row) {
    int64_t blocks = job.columns / BLOCK;
    F total = zero(), least = zero();
    for (int64_t g = 0; g < groups(blocks); ++g) {
      Group here = group(blocks, g);
      float scale[STRIP * per_block];
      scales(job, row, blocks, here, scale);
      if constexpr (!six) least = madd(minima(job, row, blocks, here), load(job.sums + g * STRIP), least);
      for (int i = here.skip; i < here.end; ++i) {
        const float* x = job.x + (here.begin + i) * BLOCK;
        F early = load(x), late = load(x + STRIP), low, high;
        int64_t block = row * blocks + here.begin + i;
        nibbles(job.values + block * STRIP, low, high);
        if constexpr (five) {
          const uint16_t* bits = (const uint16_t*)job.high + block * 2;
          low = with_one_bit(low, bits[0]);
          high = with_one_bit(high, bits[1]);
        }
        if constexpr (six) {
          const uint32_t* bits = (const uint32_t*)job.high + block * 2;
          low = times(with_two_bits(low, bits[0]), early);
          high = times(with_two_bits(high, bits[1]), late);
          total = madd(spread(scale[2 * i]), low, total);
          total = madd(spread(scale[2 * i + 1]), high, total);
        } else {
          total = madd(spread(scale[i]), madd(low, early, times(high, late)), total);
        }
      }
    }
    return six ? sum(total) : sum(plus(total, least));
  }
};

struct Bytes {
  INLINE float row(const Job& job, int64_t row) {
    int64_t blocks = job.columns / BLOCK;
    F total = zero();
    for (int64_t g = 0; g < groups(blocks); ++g) {
      Group here = group(blocks, g);
      float scale[STRIP];
      store(scale, some_halves(job.scale, row * blocks + here.begin, here.end));
      for (int i = here.skip; i < here.end; ++i) {
        const float* x = job.x + (here.begin + i) * BLOCK;
        const int8_t* at = (const int8_t*)job.values + (row * blocks + here.begin + i) * BLOCK;
        F both = madd(signed_bytes(at), load(x), times(signed_bytes(at + STRIP), load(x + STRIP)));
        total = madd(spread(scale[i]), both, total);
      }
    }
    return sum(total);
  }
};

template <Type TYPE>
struct Dense {
  INLINE F sixteen_of(const Job& job, int64_t at) {
    if constexpr (TYPE == FLOATS) return load((const float*)job.values + at);
    if constexpr (TYPE == HALVES) return halves((const uint16_t*)job.values + at);
    return brains((const uint16_t*)job.values + at);
  }
  INLINE float row(const Job& job, int64_t row) {
    F even = zero(), odd = zero();
    for (int64_t i = 0; i < job.columns; i += BLOCK) {
      int64_t at = row * job.columns + i;
      even = madd(sixteen_of(job, at), load(job.x + i), even);
      odd = madd(sixteen_of(job, at + STRIP), load(job.x + i + STRIP), odd);
    }
    return sum(plus(even, odd));
  }
};

template <typename KIND>
static void rows_of(const Job& job, int64_t begin, int64_t end) {
  for (int64_t row = begin; row < end; ++row) job.out[row] = KIND::row(job, row);
}

static void rows_of(const Job& job, int64_t begin, int64_t end) {
  switch (job.type) {
    case FLOATS: return rows_of<Dense<FLOATS>>(job, begin, end);
    case HALVES: return rows_of<Dense<HALVES>>(job, begin, end);
    case BRAINS: return rows_of<Dense<BRAINS>>(job, begin, end);
    case BYTES: return rows_of<Bytes>(job, begin, end);
    case FOURS: return rows_of<Nibbles<FOURS>>(job, begin, end);
    case FIVES: return rows_of<Nibbles<FIVES>>(job, begin, end);
    case FOURS_K: return rows_of<Nibbles<FOURS_K>>(job, begin, end);
    case FIVES_K: return rows_of<Nibbles<FIVES_K>>(job, begin, end);
    case SIXES: return rows_of<Nibbles<SIXES>>(job, begin, end);
  }
}
