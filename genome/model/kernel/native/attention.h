// One token's attention over those before it, read where they lie, and itself.
#pragma once

#include "lanes.h"

struct Seen {
  int64_t heads, group, width, places;  // K, G, D, S
  int64_t begin, end;                   // the places that the token sees
  const float *queries, *key, *value;   // (K, G, D), (K, D), (K, D)
  const float *keys, *values;           // (K, D, S)
  float *scores, *out;                  // (K, G, S), (K, G, D)
};

// The exponential of sixteen numbers of which none is above 0, as in the Cephes library: to 2 units in the last place;
// 0 below -87.
INLINE void exponentials(float* x) {
  for (int i = 0; i < STRIP; ++i) {
    float v = x[i] < -87.0f ? -87.0f : x[i];
    float shifted = v * 1.44269504f + 12582912.0f;  // 1.5 * 2^23: the lowest bits are the nearest integer
    float whole = shifted - 12582912.0f;
    float rest = v - whole * 0.693359375f + whole * 2.12194440e-4f;
    float p = 1.9875691500e-4f;
    p = p * rest + 1.3981999507e-3f;
    p = p * rest + 8.3334519073e-3f;
    p = p * rest + 4.1665795894e-2f;
    p = p * rest + 1.6666665459e-1f;
    p = p * rest + 5.0000001201e-1f;
    p = p * rest * rest + rest + 1.0f;
    uint32_t bits, exponent;
    memcpy(&bits, &p, 4);
    memcpy(&exponent, &shifted, 4);
    bits += exponent << 23;
    memcpy(&p, &bits, 4);
    x[i] = x[i] < -87.0f ? 0.0f : p;
  }
}

static void head(const Seen& seen, int64_t number) {
  int64_t of = number / seen.group, width = seen.width, places = seen.places;
  const float *query = seen.queries + number * width, *key = seen.key + of * width, *value = seen.value + of * width;
  const float *keys = seen.keys + of * width * places, *values = seen.values + of * width * places;
  float *scores = seen.scores + number * places, *out = seen.out + number * width;
  int64_t first = seen.begin / STRIP * STRIP, last = (seen.end + STRIP - 1) / STRIP * STRIP;
  float own = 0, top, total, lanes[STRIP];
  for (int64_t d = 0; d < width; ++d) own += query[d] * key[d];
  for (int64_t d = 0; d < width; d += 4) {  // four rows at a time: each is read from left to right
    const float* row = keys + d * places;
    F a = spread(query[d]), b = spread(query[d + 1]), c = spread(query[d + 2]), e = spread(query[d + 3]);
    for (int64_t s = first; s < last; s += STRIP) {
      F sum = d ? load(scores + s) : zero();
      sum = madd(a, load(row + s), madd(b, load(row + places + s), sum));
      sum = madd(c, load(row + 2 * places + s), madd(e, load(row + 3 * places + s), sum));
      store(scores + s, sum);
    }
  }
  for (int64_t s = first; s < seen.begin; ++s) scores[s] = -__builtin_inff();
  for (int64_t s = seen.end; s < last; ++s) scores[s] = -__builtin_inff();
  top = own;
  for (int64_t s = seen.begin; s < seen.end; ++s) top = scores[s] > top ? scores[s] : top;
  F sums = zero();
  for (int64_t s = first; s < last; s += STRIP) {
    for (int i = 0; i < STRIP; ++i) lanes[i] = scores[s + i] - top;
    exponentials(lanes);
    store(scores + s, load(lanes));
    sums = plus(sums, load(lanes));
  }
  for (int i = 0; i < STRIP; ++i) lanes[i] = own - top;
  exponentials(lanes);
  own = lanes[0];
  total = sum(sums) + own;
  for (int64_t d = 0; d < width; d += 4) {
    const float* row = values + d * places;
    F a = zero(), b = zero(), c = zero(), e = zero();
    for (int64_t s = first; s < last; s += STRIP) {
      F share = load(scores + s);
      a = madd(share, load(row + s), a);
      b = madd(share, load(row + places + s), b);
      c = madd(share, load(row + 2 * places + s), c);
      e = madd(share, load(row + 3 * places + s), e);
    }
    out[d] = (sum(a) + own * value[d]) / total;
    out[d + 1] = (sum(b) + own * value[d + 1]) / total;
    out[d + 2] = (sum(c) + own * value[d + 2]) / total;
    out[d + 3] = (sum(e) + own * value[d + 3]) / total;
  }
}

static void heads_of(const Seen& seen, int64_t begin, int64_t end) {
  for (int64_t number = begin; number < end; ++number) head(seen, number);
}
