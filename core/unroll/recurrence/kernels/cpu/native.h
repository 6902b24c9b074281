/* What the fused kernels share: vectors, their functions, and the matrix product of a few rows with packed weights.
 *
 * Plain C with GCC's vector extensions (GCC and Clang), so that one source works for AVX-512, AVX2 and NEON. Nothing here
 * depends on torch: buffers are pointers, float32, with contiguous rows of the batch.
 */
#include <math.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#if defined(__AVX512F__)
#include <immintrin.h>
#define V 16
#define ROWS 8  /* rows of a register tile */
#elif defined(__AVX__)
#define V 8
#define ROWS 4
#else
#define V 4
#define ROWS 8
#endif
#define WIDE 3                /* vectors of a register tile: ROWS * WIDE accumulators fill the register file */
#define PANEL (WIDE * V)      /* columns of a packed panel */

typedef float vec __attribute__((vector_size(4 * V)));
typedef float vec_at __attribute__((vector_size(4 * V), aligned(4), may_alias));
typedef int32_t ints __attribute__((vector_size(4 * V)));

static inline vec load(const float *p) { return *(const vec_at *)p; }
static inline void store(float *p, vec x) { *(vec_at *)p = x; }
#if defined(__AVX512F__)
static inline vec load_part(const float *p, long n) { return (vec)_mm512_maskz_loadu_ps((__mmask16)((1u << n) - 1), p); }
static inline void store_part(float *p, vec x, long n) { _mm512_mask_storeu_ps(p, (__mmask16)((1u << n) - 1), (__m512)x); }
#else
static inline vec load_part(const float *p, long n) { vec x = {0}; memcpy(&x, p, 4 * n); return x; }
static inline void store_part(float *p, vec x, long n) { memcpy(p, &x, 4 * n); }
#endif

/* dtype of the input side of a step and its gradient: bfloat16 in a kernel compiled with NARROW. */
typedef uint16_t bf16;
#if defined(__AVX512BF16__)
static inline vec widened(__m256i x) { return (vec)_mm512_slli_epi32(_mm512_cvtepu16_epi32(x), 16); }
static inline vec load_bf16(const bf16 *p) { return widened(_mm256_loadu_si256((const __m256i *)p)); }
static inline vec load_bf16_part(const bf16 *p, long n) { return widened(_mm256_maskz_loadu_epi16((__mmask16)((1u << n) - 1), p)); }
static inline void store_bf16(bf16 *p, vec x) { _mm256_storeu_si256((__m256i *)p, (__m256i)_mm512_cvtneps_pbh((__m512)x)); }
static inline void store_bf16_part(bf16 *p, vec x, long n) {
  _mm256_mask_storeu_epi16(p, (__mmask16)((1u << n) - 1), (__m256i)_mm512_cvtneps_pbh((__m512)x));
}
#endif
static inline vec splat(float x) { return x - (vec){0}; } /* equals x even for -0, so that no sum is computed */
/* a where the mask is set, else b; the name `select` is taken by the C library. */
static inline vec blend(ints where, vec a, vec b) { return (vec)((where & (ints)a) | (~where & (ints)b)); }
#if defined(__AVX512F__) /* NaN stays NaN in all of these */
static inline vec at_most(vec x, float high) { return (vec)_mm512_min_ps((__m512)splat(high), (__m512)x); }
static inline vec at_least(vec x, float low) { return (vec)_mm512_max_ps((__m512)splat(low), (__m512)x); }
#else
static inline vec at_most(vec x, float high) { return blend(x > splat(high), splat(high), x); }
static inline vec at_least(vec x, float low) { return blend(x < splat(low), splat(low), x); }
#endif
#if defined(__AVX512F__)
static inline float hsum(vec x) { return _mm512_reduce_add_ps((__m512)x); }
static inline vec v_sqrt(vec x) { return (vec)_mm512_sqrt_ps((__m512)x); }
#else
static inline float hsum(vec x) { float sum = 0; for (int i = 0; i < V; i++) sum += x[i]; return sum; }
static inline vec v_sqrt(vec x) { vec y; for (int i = 0; i < V; i++) y[i] = __builtin_sqrtf(x[i]); return y; }
#endif

/* 1 / x for finite normal x and quotient, to 1 ulp: a division occupies the unit for as long as ten products. */
#if defined(__AVX512F__)
static inline vec inverse(vec x) {
  vec y = (vec)_mm512_rcp14_ps((__m512)x);
  return y + y * (splat(1.f) - x * y);
}
#else
static inline vec inverse(vec x) { return splat(1.f) / x; }
#endif

/* e^x = 2^n e^r to 1 ulp, |r| <= log(2)/2, polynomial of Cephes' expf; n comes back in *whole. */
static inline vec exp_parts(vec x, ints *whole) {
  const vec magic = splat(12582912.f); /* adding 1.5 * 2^23 rounds to a whole number */
  vec n = (x * splat(1.44269504f) + magic) - magic;
  vec r = x - n * splat(0.693359375f) + n * splat(2.12194440e-4f);
  vec p = splat(1.9875691500e-4f);
  p = p * r + splat(1.3981999507e-3f);
  p = p * r + splat(8.3334519073e-3f);
  p = p * r + splat(4.1665795894e-2f);
  p = p * r + splat(1.6666665459e-1f);
  p = p * r + splat(5.0000001201e-1f);
  *whole = __builtin_convertvector(n, ints);
  return p * r * r + r + splat(1.f);
}
/* NaN stays NaN, overflow gives inf; in two factors, as 2^128 is not a float. */
static inline vec v_exp(vec x) {
  ints whole, half;
  vec y = exp_parts(at_least(at_most(x, 104.f), -104.f), &whole);
  half = whole >> 1;
  return y * (vec)((half + 127) << 23) * (vec)((whole - half + 127) << 23);
}
/* 1 / (1 + e^-x); beyond 87 the exponential is 0 or too large for rounding to matter. A closed gate is exactly 0, as it
   may multiply inf. */
static inline vec v_sigmoid(vec x) {
  ints whole;
  vec y = exp_parts(at_least(at_most(-x, 87.f), -87.f), &whole);
  return blend(x < splat(-88.7228317f), splat(0.f), inverse(splat(1.f) + y * (vec)((whole + 127) << 23)));
}

/* tanh to 2 ulp, also near 0: the odd rational function of Eigen's ptanh. At its cut-off it exceeds 1 by more than its
   rounding error, so that a saturated unit is exactly 1: its slope 1 - y^2 may be multiplied by inputs of any size. */
static inline vec v_tanh(vec x) {
  x = at_least(at_most(x, 9.7f), -9.7f);
  vec s = x * x;
  vec p = splat(-2.76076847742355e-16f);
  p = p * s + splat(2.00018790482477e-13f);
  p = p * s + splat(-8.60467152213735e-11f);
  p = p * s + splat(5.12229709037114e-08f);
  p = p * s + splat(1.48572235717979e-05f);
  p = p * s + splat(6.37261928875436e-04f);
  p = p * s + splat(4.89352455891786e-03f);
  vec q = splat(1.19825839466702e-06f);
  q = q * s + splat(1.18534705686654e-04f);
  q = q * s + splat(2.26843463243900e-03f);
  q = q * s + splat(4.89352518554385e-03f);
  return at_least(at_most(x * p * inverse(q), 1.f), -1.f);
}

/* log to 1 ulp for positive x, Cephes' logf; log(0) = -inf, of negative numbers NaN. */
static inline vec v_log(vec x) {
  ints bits = (ints)x;
  ints exponent = (bits >> 23) - 126;
  vec m = (vec)((bits & 0x007fffff) | 0x3f000000); /* in [0.5, 1) */
  ints low = m < splat(0.707106781f);
  exponent += low; /* -1 where true */
  m = blend(low, m + m, m) - splat(1.f);
  vec e = __builtin_convertvector(exponent, vec), z = m * m;
  vec p = splat(7.0376836292e-2f);
  p = p * m + splat(-1.1514610310e-1f);
  p = p * m + splat(1.1676998740e-1f);
  p = p * m + splat(-1.2420140846e-1f);
  p = p * m + splat(1.4249322787e-1f);
  p = p * m + splat(-1.6668057665e-1f);
  p = p * m + splat(2.0000714765e-1f);
  p = p * m + splat(-2.4999993993e-1f);
  p = p * m + splat(3.3333331174e-1f);
  vec y = m * (z * p) + e * splat(-2.12194440e-4f) - splat(.5f) * z;
  y = m + y + e * splat(0.693359375f);
  y = blend(x > splat(3.4e38f), x, y);
  y = blend(x == splat(0.f), splat(-INFINITY), y);
  return blend(x >= splat(0.f), y, splat(NAN));
}

static inline vec v_log1p(vec x) { /* Kahan: log(u) x / (u - 1) with u = 1 + x rounded */
  vec u = splat(1.f) + x, d = u - splat(1.f);
  return blend(d == splat(0.f), x, v_log(u) * x / blend(d == splat(0.f), splat(1.f), d));
}

#ifdef NARROW
typedef bf16 unit;
#define load_unit load_bf16
#define load_unit_part load_bf16_part
#define store_unit store_bf16
#define store_unit_part store_bf16_part
/* A gate in (0, 1) as its distance from the nearer end: a forget gate of 0.999 would be 1 in bfloat16, and the gradient
 * through a thousand steps would be kept in full instead of by a third. */
static inline vec folded(vec x) { return blend(x > splat(.5f), -(splat(1.f) - x), x); } /* 1 becomes -0 */
static inline vec unfolded(vec x) { return x + blend((ints)x < 0, splat(1.f), splat(0.f)); }
static inline vec load_gate(const unit *p) { return unfolded(load_unit(p)); }
static inline vec load_gate_part(const unit *p, long n) { return unfolded(load_unit_part(p, n)); }
static inline void store_gate(unit *p, vec x) { store_unit(p, folded(x)); }
static inline void store_gate_part(unit *p, vec x, long n) { store_unit_part(p, folded(x), n); }
#else
typedef float unit;
#define load_unit load
#define load_unit_part load_part
#define store_unit store
#define store_unit_part store_part
#define load_gate load
#define load_gate_part load_part
#define store_gate store
#define store_gate_part store_part
#endif

/* A recurrent product c[r][0..columns) (+)= a[r] W' for a team member's rows; the member computes panels first..last. */
typedef void product_fn(const void *const *a, long rows, const void *packed, long depth, long columns, float *const *c,
                        int add, long first, long last, void *scratch);

/* The arguments of one call. Rows are sorted by descending length, so that step t has rows 0..count[t) at offset[t]. */
typedef struct {
  long steps, batch, threads, shared;  /* shared: all threads work on the same rows, and on parts of each product */
  const long *count, *offset;          /* [T] */
  const unsigned char *reset;          /* [N] or NULL: the row is reset before the step */
  const unit *u;                       /* [N, P] */
  float *out, *saved;                  /* [N, O]; [N, S] for backward */
  unit *kept;                          /* [N, P] (u itself if it may be overwritten) for backward */
  float *state[8];                     /* [N, n] each, or [2, B, n] if nothing is saved */
  const float *initial[8], *fresh[8];  /* [B, n] each */
  const float *param[48];              /* vectors */
  const void *packed[48];              /* weights, packed for the products of this direction */
  const float *mask;                   /* [B, H] or NULL */
  const float *d_out;                  /* backward: [N, O] */
  unit *d_u, *d_product[16];           /* [N, P]; [N, rows] */
  float *d_state[8], *d_fresh[8];      /* [B, n]: final on entry, initial on exit */
  float *d_param;                      /* [threads, sum of widths], zero on entry */
  float *scratch;                      /* [threads, scratch_size] floats, or one part if shared */
  long scratch_size;
  product_fn *product, *of_units;      /* of rows of float32, and of rows of units */
} Call;
