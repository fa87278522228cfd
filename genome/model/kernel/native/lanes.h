// Sixteen floats side by side, and how stored numbers become such: once for each kind of processor.
//
// The compiler is told to build for this machine, and its own macros say what that has. GENOME_LANES=0..3 asks for
// less (plain, NEON, AVX2, AVX-512), so that the tests can compare them.
#pragma once

#include <stdint.h>
#include <string.h>

#if defined(__AVX512F__) && defined(__AVX512BW__) && defined(__AVX512VL__) && defined(__AVX512DQ__)
#define GENOME_BEST 3
#elif defined(__AVX2__) && defined(__FMA__) && defined(__F16C__)
#define GENOME_BEST 2
#elif defined(__aarch64__) && defined(__ARM_NEON)
#define GENOME_BEST 1
#else
#define GENOME_BEST 0
#endif

#ifndef GENOME_LANES
#define GENOME_LANES GENOME_BEST
#endif

#define INLINE static inline __attribute__((always_inline))

constexpr int STRIP = 16;

#if GENOME_LANES == 3
#include <immintrin.h>

constexpr const char* LANES = "AVX-512";

typedef __m512 F;

INLINE F zero() { return _mm512_setzero_ps(); }
INLINE F spread(float x) { return _mm512_set1_ps(x); }
INLINE F load(const float* p) { return _mm512_loadu_ps(p); }
INLINE void store(float* p, F x) { _mm512_storeu_ps(p, x); }
INLINE F times(F a, F b) { return _mm512_mul_ps(a, b); }
INLINE F plus(F a, F b) { return _mm512_add_ps(a, b); }
INLINE F madd(F a, F b, F c) { return _mm512_fmadd_ps(a, b, c); }

INLINE F halves(const uint16_t* p) { return _mm512_cvtph_ps(_mm256_loadu_si256((const __m256i*)p)); }
INLINE F brains(const uint16_t* p) {
  __m512i wide = _mm512_cvtepu16_epi32(_mm256_loadu_si256((const __m256i*)p));
  return _mm512_castsi512_ps(_mm512_slli_epi32(wide, 16));
}
INLINE F signed_bytes(const int8_t* p) {
  return _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(_mm_loadu_si128((const __m128i*)p)));
}
INLINE F plain_bytes(const uint8_t* p) {
  return _mm512_cvtepi32_ps(_mm512_cvtepu8_epi32(_mm_loadu_si128((const __m128i*)p)));
}

// A table of sixteen floats is indexed by the lowest four bits of each lane: no mask, no conversion.
INLINE void nibbles(const uint8_t* p, F& low, F& high) {
  const F numbers = _mm512_setr_ps(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
  __m512i pairs = _mm512_cvtepu8_epi32(_mm_loadu_si128((const __m128i*)p));
  low = _mm512_permutexvar_ps(pairs, numbers);
  high = _mm512_permutexvar_ps(_mm512_srli_epi32(pairs, 4), numbers);
}
INLINE F with_one_bit(F low, uint16_t bits) { return _mm512_mask_add_ps(low, bits, low, spread(16)); }
INLINE F with_two_bits(F low, uint32_t bits) {
  const __m512i shifts = _mm512_setr_epi32(0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30);
  const F above = _mm512_setr_ps(-32, -16, 0, 16, -32, -16, 0, 16, -32, -16, 0, 16, -32, -16, 0, 16);
  return plus(low, _mm512_permutexvar_ps(_mm512_srlv_epi32(_mm512_set1_epi32((int)bits), shifts), above));
}
INLINE float half(uint16_t bits) { return _cvtsh_ss(bits); }
INLINE float sum(F x) {
  __m256 a = _mm256_add_ps(_mm512_castps512_ps256(x), _mm512_extractf32x8_ps(x, 1));
  __m128 b = _mm_add_ps(_mm256_castps256_ps128(a), _mm256_extractf128_ps(a, 1));
  b = _mm_add_ps(b, _mm_movehl_ps(b, b));
  return _mm_cvtss_f32(_mm_add_ss(b, _mm_movehdup_ps(b)));
}

#elif GENOME_LANES == 2
#include <immintrin.h>

constexpr const char* LANES = "AVX2";

struct F {
  __m256 a, b;
};

INLINE F zero() { return {_mm256_setzero_ps(), _mm256_setzero_ps()}; }
INLINE F spread(float x) { return {_mm256_set1_ps(x), _mm256_set1_ps(x)}; }
INLINE F load(const float* p) { return {_mm256_loadu_ps(p), _mm256_loadu_ps(p + 8)}; }
INLINE void store(float* p, F x) {
  _mm256_storeu_ps(p, x.a);
  _mm256_storeu_ps(p + 8, x.b);
}
INLINE F times(F a, F b) { return {_mm256_mul_ps(a.a, b.a), _mm256_mul_ps(a.b, b.b)}; }
INLINE F plus(F a, F b) { return {_mm256_add_ps(a.a, b.a), _mm256_add_ps(a.b, b.b)}; }
INLINE F madd(F a, F b, F c) { return {_mm256_fmadd_ps(a.a, b.a, c.a), _mm256_fmadd_ps(a.b, b.b, c.b)}; }

INLINE F halves(const uint16_t* p) {
  return {_mm256_cvtph_ps(_mm_loadu_si128((const __m128i*)p)), _mm256_cvtph_ps(_mm_loadu_si128((const __m128i*)(p + 8)))};
}
INLINE F brains(const uint16_t* p) {
  __m256i a = _mm256_cvtepu16_epi32(_mm_loadu_si128((const __m128i*)p));
  __m256i b = _mm256_cvtepu16_epi32(_mm_loadu_si128((const __m128i*)(p + 8)));
  return {_mm256_castsi256_ps(_mm256_slli_epi32(a, 16)), _mm256_castsi256_ps(_mm256_slli_epi32(b, 16))};
}
INLINE F signed_bytes(const int8_t* p) {
  return {
      _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(_mm_loadl_epi64((const __m128i*)p))),
      _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(_mm_loadl_epi64((const __m128i*)(p + 8))))};
}
INLINE F plain_bytes(const uint8_t* p) {
  return {
      _mm256_cvtepi32_ps(_mm256_cvtepu8_epi32(_mm_loadl_epi64((const __m128i*)p))),
      _mm256_cvtepi32_ps(_mm256_cvtepu8_epi32(_mm_loadl_epi64((const __m128i*)(p + 8))))};
}
INLINE void nibbles(const uint8_t* p, F& low, F& high) {
  const __m256i four = _mm256_set1_epi32(15);
  __m256i a = _mm256_cvtepu8_epi32(_mm_loadl_epi64((const __m128i*)p));
  __m256i b = _mm256_cvtepu8_epi32(_mm_loadl_epi64((const __m128i*)(p + 8)));
  low = {_mm256_cvtepi32_ps(_mm256_and_si256(a, four)), _mm256_cvtepi32_ps(_mm256_and_si256(b, four))};
  high = {_mm256_cvtepi32_ps(_mm256_srli_epi32(a, 4)), _mm256_cvtepi32_ps(_mm256_srli_epi32(b, 4))};
}
INLINE F with_one_bit(F low, uint16_t bits) {
  const __m256i one = _mm256_setr_epi32(1, 2, 4, 8, 16, 32, 64, 128);
  const __m256 sixteen = _mm256_set1_ps(16);
  __m256i a = _mm256_and_si256(_mm256_set1_epi32(bits), one);
  __m256i b = _mm256_and_si256(_mm256_set1_epi32(bits >> 8), one);
  __m256 c = _mm256_and_ps(_mm256_castsi256_ps(_mm256_cmpeq_epi32(a, one)), sixteen);
  __m256 d = _mm256_and_ps(_mm256_castsi256_ps(_mm256_cmpeq_epi32(b, one)), sixteen);
  return plus(low, {c, d});
}
INLINE F with_two_bits(F low, uint32_t bits) {
  const __m256i shifts = _mm256_setr_epi32(0, 2, 4, 6, 8, 10, 12, 14), three = _mm256_set1_epi32(3);
  __m256i a = _mm256_and_si256(_mm256_srlv_epi32(_mm256_set1_epi32((int)bits), shifts), three);
  __m256i b = _mm256_and_si256(_mm256_srlv_epi32(_mm256_set1_epi32((int)(bits >> 16)), shifts), three);
  return plus(low, madd({_mm256_cvtepi32_ps(a), _mm256_cvtepi32_ps(b)}, spread(16), spread(-32)));
}
INLINE float half(uint16_t bits) { return _cvtsh_ss(bits); }
INLINE float sum(F x) {
  __m256 a = _mm256_add_ps(x.a, x.b);
  __m128 b = _mm_add_ps(_mm256_castps256_ps128(a), _mm256_extractf128_ps(a, 1));
  b = _mm_add_ps(b, _mm_movehl_ps(b, b));
  return _mm_cvtss_f32(_mm_add_ss(b, _mm_movehdup_ps(b)));
}

#elif GENOME_LANES == 1
#include <arm_neon.h>

constexpr const char* LANES = "NEON";

struct F {
  float32x4_t v[4];
};

#define EACH for (int i = 0; i < 4; ++i)

INLINE F spread(float x) {
  F r;
  EACH r.v[i] = vdupq_n_f32(x);
  return r;
}
INLINE F zero() { return spread(0); }
INLINE F load(const float* p) {
  F r;
  EACH r.v[i] = vld1q_f32(p + 4 * i);
  return r;
}
INLINE void store(float* p, F x) { EACH vst1q_f32(p + 4 * i, x.v[i]); }
INLINE F times(F a, F b) {
  EACH a.v[i] = vmulq_f32(a.v[i], b.v[i]);
  return a;
}
INLINE F plus(F a, F b) {
  EACH a.v[i] = vaddq_f32(a.v[i], b.v[i]);
  return a;
}
INLINE F madd(F a, F b, F c) {
  EACH c.v[i] = vfmaq_f32(c.v[i], a.v[i], b.v[i]);
  return c;
}
INLINE F halves(const uint16_t* p) {
  F r;
  EACH r.v[i] = vcvt_f32_f16(vreinterpret_f16_u16(vld1_u16(p + 4 * i)));
  return r;
}
INLINE F brains(const uint16_t* p) {
  F r;
  EACH r.v[i] = vreinterpretq_f32_u32(vshll_n_u16(vld1_u16(p + 4 * i), 16));
  return r;
}
INLINE F widened(uint8x16_t bytes) {
  uint16x8_t a = vmovl_u8(vget_low_u8(bytes)), b = vmovl_u8(vget_high_u8(bytes));
  return {{
      vcvtq_f32_u32(vmovl_u16(vget_low_u16(a))), vcvtq_f32_u32(vmovl_u16(vget_high_u16(a))),
      vcvtq_f32_u32(vmovl_u16(vget_low_u16(b))), vcvtq_f32_u32(vmovl_u16(vget_high_u16(b)))}};
}
INLINE F plain_bytes(const uint8_t* p) { return widened(vld1q_u8(p)); }
INLINE F signed_bytes(const int8_t* p) {
  int8x16_t bytes = vld1q_s8(p);
  int16x8_t a = vmovl_s8(vget_low_s8(bytes)), b = vmovl_s8(vget_high_s8(bytes));
  return {{
      vcvtq_f32_s32(vmovl_s16(vget_low_s16(a))), vcvtq_f32_s32(vmovl_s16(vget_high_s16(a))),
      vcvtq_f32_s32(vmovl_s16(vget_low_s16(b))), vcvtq_f32_s32(vmovl_s16(vget_high_s16(b)))}};
}
INLINE void nibbles(const uint8_t* p, F& low, F& high) {
  uint8x16_t pairs = vld1q_u8(p);
  low = widened(vandq_u8(pairs, vdupq_n_u8(15)));
  high = widened(vshrq_n_u8(pairs, 4));
}
INLINE F with_one_bit(F low, uint16_t bits) {
  const int32_t four[4] = {4, 3, 2, 1};  // what moves the bit of a lane to the place of 16
  const int32x4_t shifts = vld1q_s32(four);
  EACH {
    uint32x4_t bit = vshlq_u32(vdupq_n_u32(bits >> 4 * i), shifts);
    low.v[i] = vaddq_f32(low.v[i], vcvtq_f32_u32(vandq_u32(bit, vdupq_n_u32(16))));
  }
  return low;
}
INLINE F with_two_bits(F low, uint32_t bits) {
  const int32_t four[4] = {4, 2, 0, -2};
  const int32x4_t shifts = vld1q_s32(four);
  EACH {
    uint32x4_t two = vandq_u32(vshlq_u32(vdupq_n_u32(bits >> 8 * i), shifts), vdupq_n_u32(48));
    low.v[i] = vaddq_f32(low.v[i], vsubq_f32(vcvtq_f32_u32(two), vdupq_n_f32(32)));
  }
  return low;
}
INLINE float half(uint16_t bits) { return vgetq_lane_f32(vcvt_f32_f16(vreinterpret_f16_u16(vdup_n_u16(bits))), 0); }
INLINE float sum(F x) { return vaddvq_f32(vaddq_f32(vaddq_f32(x.v[0], x.v[1]), vaddq_f32(x.v[2], x.v[3]))); }

#undef EACH

#else

constexpr const char* LANES = "plain C++";

struct F {
  float v[STRIP];
};

#define EACH for (int i = 0; i < STRIP; ++i)

INLINE float float_of(uint32_t bits) {
  float x;
  memcpy(&x, &bits, 4);
  return x;
}
INLINE float half(uint16_t bits) {
  uint32_t sign = (bits & 0x8000u) << 16, rest = bits & 0x7FFFu;
  if (rest >= 0x7C00u) return float_of(sign | 0x7F800000u | (rest & 0x3FFu) << 13);
  // The exponent counts from -15, a float's from -127; the product also makes the subnormal ones right.
  float value = float_of(rest << 13) * float_of(0x77800000u);
  return sign ? -value : value;
}
INLINE F spread(float x) {
  F r;
  EACH r.v[i] = x;
  return r;
}
INLINE F zero() { return spread(0); }
INLINE F load(const float* p) {
  F r;
  memcpy(r.v, p, sizeof r.v);
  return r;
}
INLINE void store(float* p, F x) { memcpy(p, x.v, sizeof x.v); }
INLINE F times(F a, F b) {
  EACH a.v[i] *= b.v[i];
  return a;
}
INLINE F plus(F a, F b) {
  EACH a.v[i] += b.v[i];
  return a;
}
INLINE F madd(F a, F b, F c) {
  EACH c.v[i] += a.v[i] * b.v[i];
  return c;
}
INLINE F halves(const uint16_t* p) {
  F r;
  EACH r.v[i] = half(p[i]);
  return r;
}
INLINE F brains(const uint16_t* p) {
  F r;
  EACH r.v[i] = float_of((uint32_t)p[i] << 16);
  return r;
}
INLINE F signed_bytes(const int8_t* p) {
  F r;
  EACH r.v[i] = (float)p[i];
  return r;
}
INLINE F plain_bytes(const uint8_t* p) {
  F r;
  EACH r.v[i] = (float)p[i];
  return r;
}
INLINE void nibbles(const uint8_t* p, F& low, F& high) {
  EACH {
    low.v[i] = (float)(p[i] & 15);
    high.v[i] = (float)(p[i] >> 4);
  }
}
INLINE F with_one_bit(F low, uint16_t bits) {
  EACH low.v[i] += (float)((bits >> i & 1) * 16);
  return low;
}
INLINE F with_two_bits(F low, uint32_t bits) {
  EACH low.v[i] += (float)((int)(bits >> 2 * i & 3) * 16 - 32);
  return low;
}
INLINE float sum(F x) {
  for (int step = STRIP / 2; step; step /= 2)
    for (int i = 0; i < step; ++i) x.v[i] += x.v[i + step];
  return x.v[0];
}

#undef EACH

#endif
