/* Tiles of sums that stay in registers, over the panels of a packed matrix: float32, and pairs of bfloat16. */
static inline bf16 to_bf16(float x) { /* to nearest, ties to even; NaN stays NaN */
  uint32_t b; memcpy(&b, &x, 4);
  if (x != x) return (bf16)((b >> 16) | 64);
  return (bf16)((b + 0x7fff + ((b >> 16) & 1)) >> 16);
}

static inline void put(float *p, vec x, long n) {
  if (n >= V) store(p, x); else if (n > 0) store_part(p, x, n);
}
static inline vec get(const float *p, long n) { return n >= V ? load(p) : n > 0 ? load_part(p, n) : splat(0); }

/* dtypes of a large product: bfloat16 operands; the left one, or the result, stored as bfloat16. */
enum { BF16 = 1, FROM_BF16 = 2, TO_BF16 = 4 };
/* What happens to a product: written, added to the target, or rounded to bfloat16. */
enum { WRITE, ADD, NARROW_DOWN };
/* The initial value of a sum. c is prefetched meanwhile, even if it is only written, because a cache line must be read
 * before it is written. */
#define BEGIN(READ) (bias ? READ(bias + n * V) : splat(0))
#define OLD(READ) (how == ADD ? READ(c[m] + n * V) : splat(0))
#define PART(FROM) get(FROM, columns - n * V)
#define COMING(MR, NV)                                                                                               \
  for (int m = 0; m < MR; m++)                                                                                       \
    for (int n = 0; n < NV; n++) __builtin_prefetch(c[m] + n * V, 1);
#define AHEAD 16 /* rows of the packed matrix to prefetch, from the second-level cache */

/* Fully unrolled loops, so that the sums stay in registers. */
#define EACH(MR, NV)                                                                                                 \
  _Pragma("GCC unroll 8") for (int m = 0; m < MR; m++)                                                               \
    _Pragma("GCC unroll 3") for (int n = 0; n < NV; n++)

/* A register tile c[m][j] (+)= sum_k a(m, k) w[k][j]. `columns` of its NV * V are real. */
#define TILE(NAME, MR, NV, ARGUMENT, ELEMENT)                                                                        \
  static void NAME(ARGUMENT, const float *w, long depth, float *const *c, long columns, int how, const float *bias) { \
    vec s[MR][NV];                                                                                                   \
    COMING(MR, NV)                                                                                                   \
    if (columns >= NV * V) EACH(MR, NV) s[m][n] = BEGIN(load);                                                       \
    else EACH(MR, NV) s[m][n] = BEGIN(PART);                                                                         \
    for (long k = 0; k < depth; k++) {                                                                               \
      vec b[NV];                                                                                                     \
      for (int n = 0; n < NV; n++) {                                                                                 \
        b[n] = load(w + k * NV * V + n * V);                                                                         \
        __builtin_prefetch(w + (k + AHEAD) * NV * V + n * V);                                                        \
      }                                                                                                              \
      EACH(MR, NV) s[m][n] += splat(ELEMENT) * b[n];                                                                 \
    }                                                                                                                \
    if (columns >= NV * V) EACH(MR, NV) store(c[m] + n * V, s[m][n] + OLD(load));                                    \
    else EACH(MR, NV) put(c[m] + n * V, s[m][n] + OLD(PART), columns - n * V);                                       \
  }
#define BY_ROW const float *const *a
#define TILES(MR)                                                                                                    \
  TILE(rows_##MR##_1, MR, 1, BY_ROW, a[m][k]) TILE(rows_##MR##_2, MR, 2, BY_ROW, a[m][k]) TILE(rows_##MR##_3, MR, 3, BY_ROW, a[m][k])
TILES(1) TILES(2) TILES(4)
#if ROWS == 8
TILES(8)
#endif

#ifdef __AVX512BF16__
static inline void put_bf16(bf16 *p, vec x, long n) {
  if (n >= V) store_bf16(p, x); else if (n > 0) store_bf16_part(p, x, n);
}
static inline vec get_bf16(const bf16 *p, long n) { return n >= V ? load_bf16(p) : n > 0 ? load_bf16_part(p, n) : splat(0); }

/* The same for bfloat16 pairs: two products per lane and instruction, sums in float32. depth counts pairs. */
#define BF16_TILE(NAME, MR, NV, ARGUMENT, ELEMENT)                                                                   \
  static void NAME(ARGUMENT, const bf16 *w, long depth, float *const *c, long columns, int how, const float *bias) {  \
    __m512 s[MR][NV];                                                                                                \
    COMING(MR, NV)                                                                                                   \
    EACH(MR, NV) s[m][n] = (__m512)BEGIN(PART);                                                                      \
    for (long k = 0; k < depth; k++) {                                                                               \
      __m512bh b[NV];                                                                                                \
      for (int n = 0; n < NV; n++) b[n] = (__m512bh)_mm512_loadu_si512(w + (k * NV + n) * 2 * V);                    \
      for (int m = 0; m < MR; m++) {                                                                                 \
        int pair; memcpy(&pair, ELEMENT, 4);                                                                         \
        __m512bh x = (__m512bh)_mm512_set1_epi32(pair);                                                              \
        for (int n = 0; n < NV; n++) s[m][n] = _mm512_dpbf16_ps(s[m][n], x, b[n]);                                   \
      }                                                                                                              \
    }                                                                                                                \
    EACH(MR, NV)                                                                                                     \
      if (how == NARROW_DOWN) put_bf16((bf16 *)c[m] + n * V, (vec)s[m][n], columns - n * V);                         \
      else put(c[m] + n * V, (vec)s[m][n] + OLD(PART), columns - n * V);                                             \
  }
#define BF16_TILES(MR)                                                                                               \
  BF16_TILE(bf16_##MR##_1, MR, 1, const bf16 *const *a, a[m] + 2 * k)                                                \
  BF16_TILE(bf16_##MR##_2, MR, 2, const bf16 *const *a, a[m] + 2 * k)                                                \
  BF16_TILE(bf16_##MR##_3, MR, 3, const bf16 *const *a, a[m] + 2 * k)
BF16_TILES(1) BF16_TILES(2) BF16_TILES(4) BF16_TILES(8)
#endif

#ifdef TALL
/* Stores the sums of `some_tiles`. */
static void put_tiles(const float *sums, long rows, long vectors, float *const *c, long columns, int how, const float *bias) {
  for (long m = 0; m < rows; m++, sums += PANEL)
    for (long n = 0; n < vectors; n++) {
      vec x = load(sums + n * V) + BEGIN(PART);
      if (how == NARROW_DOWN) put_bf16((bf16 *)c[m] + n * V, x, columns - n * V);
      else put(c[m] + n * V, x + OLD(PART), columns - n * V);
    }
}
#endif

static inline long least(long a, long b) { return a < b ? a : b; }
/* The columns of a packed matrix are stored in panels of three vectors; a remainder is spread over panels, as a tile of
 * one vector runs at half the rate. */
static inline long vectors(long columns) { return (columns + V - 1) / V; }
static inline long panels(long columns) { return (vectors(columns) + WIDE - 1) / WIDE; }
static inline long start_of(long p, long columns) { return p * vectors(columns) / panels(columns) * V; }
static inline long width_of(long p, long columns) { return start_of(p + 1, columns) - start_of(p, columns); }

/* All rows of one panel: tiles of ROWS rows, then of 4, 2 and 1. */
#define DOWN(TYPE, STEM, PACKED)                                                                                     \
  for (long r = 0; r < rows;) {                                                                                      \
    long left = rows - r;                                                                                            \
    IF8(STEM, left, n, PACKED)                                                                                       \
    if (left >= 4) { CALL(STEM, 4, n, PACKED) r += 4; }                                                              \
    else if (left >= 2) { CALL(STEM, 2, n, PACKED) r += 2; }                                                         \
    else { CALL(STEM, 1, n, PACKED) r += 1; }                                                                        \
  }
#define CALL(STEM, MR, n, PACKED)                                                                                    \
  if (n == 3) STEM##_##MR##_3(a + r, PACKED, depth, c + r, columns, how, bias);                                            \
  else if (n == 2) STEM##_##MR##_2(a + r, PACKED, depth, c + r, columns, how, bias);                                       \
  else STEM##_##MR##_1(a + r, PACKED, depth, c + r, columns, how, bias);
#if ROWS == 8
#define IF8(STEM, left, n, PACKED) if (left >= 8) { CALL(STEM, 8, n, PACKED) r += 8; } else
#else
#define IF8(STEM, left, n, PACKED)
#endif

static void panel(const float *const *a, long rows, const float *w, long depth, float *const *c, long n, long columns, int how, const float *bias) {
  DOWN(float, rows, w)
}
#ifdef __AVX512BF16__
static void bf16_panel(const bf16 *const *a, long rows, const bf16 *w, long depth, float *const *c, long n, long columns, int how, const float *bias) {
  DOWN(bf16, bf16, w)
}
#endif

#define MOST 512 /* rows whose pointers are kept on the stack */
