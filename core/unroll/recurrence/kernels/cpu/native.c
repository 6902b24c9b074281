/* Matrix products: the recurrent one (few rows, weights packed once, called each step) and the large ones. */
#include "native.h"
#include "tiles.h"
#include <omp.h>
#include <stdlib.h>

static inline bf16 to_bf16(float x) { /* to nearest, ties to even; NaN stays NaN */
  uint32_t b; memcpy(&b, &x, 4);
  if (x != x) return (bf16)((b >> 16) | 64);
  return (bf16)((b + 0x7fff + ((b >> 16) & 1)) >> 16);
}

static inline void put(float *p, vec x, long n) {
  if (n >= V) store(p, x); else if (n > 0) store_part(p, x, n);
}
static inline vec get(const float *p, long n) { return n >= V ? load(p) : n > 0 ? load_part(p, n) : splat(0); }

/* What becomes of a product: written, added to what is there, or rounded to bfloat16. */
enum { WRITE, ADD, NARROW_DOWN };
/* What a sum begins with, and what joins it at the end: c is fetched meanwhile, also if it is only written, as a line that
 * is not in the cache is read first. */
#define BEGIN(READ) (bias ? READ(bias + n * V) : splat(0))
#define OLD(READ) (how == ADD ? READ(c[m] + n * V) : splat(0))
#define PART(FROM) get(FROM, columns - n * V)
#define COMING(MR, NV)                                                                                               \
  for (int m = 0; m < MR; m++)                                                                                       \
    for (int n = 0; n < NV; n++) __builtin_prefetch(c[m] + n * V, 1);
#define AHEAD 16 /* rows of the packed matrix: it comes from the second cache, and is fetched before it is needed */

/* Loops that are unrolled at once, so that the sums never leave their registers. */
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
/* The sums of `some_tiles` go where they belong. */
static void put_tiles(const float *sums, long rows, long vectors, float *const *c, long columns, int how, const float *bias) {
  for (long m = 0; m < rows; m++, sums += PANEL)
    for (long n = 0; n < vectors; n++) {
      vec x = load(sums + n * V) + BEGIN(PART);
      if (how == NARROW_DOWN) put_bf16((bf16 *)c[m] + n * V, x, columns - n * V);
      else put(c[m] + n * V, x + OLD(PART), columns - n * V);
    }
}
#endif

/* 0: no products of bfloat16 here; 1: by AVX-512; 2: by AMX. */
int has_bfloat16(void) {
#ifdef __AVX512BF16__
  return 1 + !!tiles;
#else
  return 0;
#endif
}

static inline long least(long a, long b) { return a < b ? a : b; }
/* The columns of a packed matrix stand in panels of three vectors; what is left over is shared out, as a tile of one
 * vector runs at half the rate. */
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

/* product_fn for float32 */
void product(const void *const *a, long rows, const void *packed, long depth, long columns, float *const *c, int add,
             long first, long last, void *scratch) {
  (void)scratch;
  float *to[MOST];
  for (long begin = 0; begin < rows; begin += MOST) {
    long some = least(MOST, rows - begin);
    for (long p = first; p < last; p++) {
      long start = start_of(p, columns), n = width_of(p, columns) / V;
      for (long r = 0; r < some; r++) to[r] = c[begin + r] + start;
      panel((const float *const *)a + begin, some, (const float *)packed + start * depth, depth, to, n, columns - start,
            add ? ADD : WRITE, NULL);
    }
  }
}

static void round_row(const float *from, bf16 *to, long n) {
  long i = 0;
#ifdef __AVX512BF16__
  for (; i + V <= n; i += V) _mm256_storeu_si256((__m256i *)(to + i), (__m256i)_mm512_cvtneps_pbh((__m512)load(from + i)));
#endif
  for (; i < n; i++) to[i] = to_bf16(from[i]);
}

/* bfloat16: rows of float32 are rounded into scratch first, `narrow` ones are taken as they are, if tiles or pairs can be
 * made of them where they stand. */
static void bf16_rows(const void *const *a, int narrow, long rows, const void *packed, long depth, long columns,
                      void *const *c, int how, const float *bias, long first, long last, void *scratch) {
#ifdef __AVX512BF16__
  const bf16 *from[MOST]; float *to[MOST];
  long deep = padded(depth);
  for (long begin = 0; begin < rows; begin += MOST) {
    long some = least(MOST, rows - begin), apart = some > 1 ? (const bf16 *)a[begin + 1] - (const bf16 *)a[begin] : deep;
    int there = narrow && deep == depth;
    for (long r = 1; tiles && there && r < some; r++) there = (const bf16 *)a[begin + r] == (const bf16 *)a[begin] + r * apart;
    if (!there) apart = deep;
    for (long r = 0; r < some; r++) {
      bf16 *row = (bf16 *)scratch + r * deep;
      from[r] = there ? a[begin + r] : row;
      if (there) continue;
      if (narrow) memcpy(row, a[begin + r], sizeof(bf16) * depth); else round_row(a[begin + r], row, depth);
      memset(row + depth, 0, sizeof(bf16) * (deep - depth));
    }
#ifdef TALL
    float sums[2 * TALL * PANEL] __attribute__((aligned(64)));
    for (long r = 0, many = 0; tiles && r < some; r += many) {
      if (many != tile_rows(some - r)) shape_tiles(least(many = tile_rows(some - r), TALL));
      for (long p = first; p < last; p++) {
        long start = start_of(p, columns), n = width_of(p, columns) / V;
        for (long m = 0; m < many; m++)
          to[m] = how == NARROW_DOWN ? (float *)((bf16 *)c[begin + r + m] + start) : (float *)c[begin + r + m] + start;
        some_tiles(from[r], TALL * apart, apart, DEEP, many, (const bf16 *)packed + start * deep, deep, n, sums);
        put_tiles(sums, many, n, to, columns - start, how, bias ? bias + start : NULL);
      }
    }
    if (tiles) { _tile_release(); continue; }
#endif
    for (long p = first; p < last; p++) {
      long start = start_of(p, columns), n = width_of(p, columns) / V;
      for (long r = 0; r < some; r++)
        to[r] = how == NARROW_DOWN ? (float *)((bf16 *)c[begin + r] + start) : (float *)c[begin + r] + start;
      bf16_panel(from, some, (const bf16 *)packed + start * deep, deep / 2, to, n, columns - start, how,
                 bias ? bias + start : NULL);
    }
  }
#endif
}

/* product_fn for bfloat16, of rows of float32 and of rows of bfloat16; only to be called where has_bfloat16. */
void bf16_product(const void *const *a, long rows, const void *packed, long depth, long columns, float *const *c, int add,
                  long first, long last, void *scratch) {
  bf16_rows(a, 0, rows, packed, depth, columns, (void *const *)c, add ? ADD : WRITE, NULL, first, last, scratch);
}
void narrow_product(const void *const *a, long rows, const void *packed, long depth, long columns, float *const *c, int add,
                    long first, long last, void *scratch) {
  bf16_rows(a, 1, rows, packed, depth, columns, (void *const *)c, add ? ADD : WRITE, NULL, first, last, scratch);
}

/* How many floats (or bf16 numbers) `pack` writes. */
long packed_size(long depth, long columns, int as_bf16) {
  return vectors(columns) * V * (as_bf16 ? padded(depth) : depth);
}

#if defined(__AVX512F__)
/* 16 rows of 16 words become its columns. */
static void transpose(__m512i *r) {
  __m512i t[16];
  for (int i = 0; i < 16; i += 2) {
    t[i] = _mm512_unpacklo_epi32(r[i], r[i + 1]);
    t[i + 1] = _mm512_unpackhi_epi32(r[i], r[i + 1]);
  }
  for (int i = 0; i < 16; i += 4) { /* r[i + c] has columns c, 4 + c, 8 + c, 12 + c of four rows, 128 bits each */
    r[i] = _mm512_unpacklo_epi64(t[i], t[i + 2]);
    r[i + 1] = _mm512_unpackhi_epi64(t[i], t[i + 2]);
    r[i + 2] = _mm512_unpacklo_epi64(t[i + 1], t[i + 3]);
    r[i + 3] = _mm512_unpackhi_epi64(t[i + 1], t[i + 3]);
  }
  for (int c = 0; c < 4; c++) {
    __m512i even = _mm512_shuffle_i32x4(r[c], r[4 + c], 0x88), odd = _mm512_shuffle_i32x4(r[c], r[4 + c], 0xdd);
    __m512i even_below = _mm512_shuffle_i32x4(r[8 + c], r[12 + c], 0x88);
    __m512i odd_below = _mm512_shuffle_i32x4(r[8 + c], r[12 + c], 0xdd);
    t[c] = _mm512_shuffle_i32x4(even, even_below, 0x88);
    t[4 + c] = _mm512_shuffle_i32x4(odd, odd_below, 0x88);
    t[8 + c] = _mm512_shuffle_i32x4(even, even_below, 0xdd);
    t[12 + c] = _mm512_shuffle_i32x4(odd, odd_below, 0xdd);
  }
  memcpy(r, t, sizeof t);
}

/* A panel of columns that stand in one piece each: squares of 16 columns and 16 words, a word being a float or a pair. */
static void pack_columns(const float *w, long depth, long wide, long columns, long by_column, int as_bf16, void *to) {
  long words = as_bf16 ? padded(depth) / 2 : depth, each = as_bf16 ? 2 : 1;
  for (long j = 0; j < wide; j += V)
    for (long k = 0; k < words; k += V) {
      __m512i square[V];
      for (long i = 0; i < V; i++) {
        const float *from = w + (j + i) * by_column + k * each;
        long left = j + i < columns ? depth - k * each : 0;
#ifdef __AVX512BF16__
        if (as_bf16) {
          square[i] = (__m512i)_mm512_cvtne2ps_pbh((__m512)get(from + V, left - V), (__m512)get(from, left));
          continue;
        }
#endif
        square[i] = (__m512i)get(from, left);
      }
      transpose(square);
      for (long i = 0; i < least(V, words - k); i++) _mm512_storeu_si512((int32_t *)to + (k + i) * wide + j, square[i]);
    }
}
#endif
static void pack_panel(const float *w, long depth, long wide, long columns, long by_depth, long by_column, float *to) {
  for (long k = 0; k < depth; k++, to += wide) {
    const float *from = w + k * by_depth;
    if (by_column == 1 && columns >= wide) memcpy(to, from, 4 * wide);
    else for (long j = 0; j < wide; j++) to[j] = j < columns ? from[j * by_column] : 0;
  }
}
#ifdef __AVX512BF16__
/* V pairs (upper[j], lower[j]) as a bfloat16 product reads them; n of them are real. */
static inline __m512i pairs_of(const float *upper, const float *lower, long n) {
  vec x = get(upper, n), y = lower ? get(lower, n) : splat(0);
  __m512i a = _mm512_cvtepu16_epi32((__m256i)_mm512_cvtneps_pbh((__m512)x));
  __m512i b = _mm512_cvtepu16_epi32((__m256i)_mm512_cvtneps_pbh((__m512)y));
  return _mm512_or_si512(a, _mm512_slli_epi32(b, 16));
}
/* The same of what is bfloat16 already. */
static inline __m512i pairs_of_bf16(const bf16 *upper, const bf16 *lower, long n) {
  __mmask16 real = n >= V ? 0xffff : (__mmask16)((1u << n) - 1);
  __m512i a = _mm512_cvtepu16_epi32(_mm256_maskz_loadu_epi16(real, upper));
  __m512i b = lower ? _mm512_cvtepu16_epi32(_mm256_maskz_loadu_epi16(real, lower)) : _mm512_setzero_si512();
  return _mm512_or_si512(a, _mm512_slli_epi32(b, 16));
}
#endif
static void pack_bf16_panel(const float *w, long depth, long wide, long columns, long by_depth, long by_column, bf16 *to) {
#ifdef __AVX512BF16__
  if (by_column == 1) {
    for (long k = 0; k < padded(depth); k += 2, to += 2 * wide)
      for (long j = 0; j < wide; j += V) {
        const float *upper = w + k * by_depth + j;
        _mm512_storeu_si512(to + 2 * j, pairs_of(upper, k + 1 < depth ? upper + by_depth : NULL, k < depth ? columns - j : 0));
      }
    return;
  }
#endif
  for (long k = 0; k < padded(depth); k += 2, to += 2 * wide)
    for (long j = 0; j < wide; j++)
      for (long i = 0; i < 2; i++)
        to[2 * j + i] = j < columns && k + i < depth ? to_bf16(w[(k + i) * by_depth + j * by_column]) : 0;
}

/* Packs the matrix of which element (k, j) stands at w[k * by_depth + j * by_column]. */
void pack(const float *w, long depth, long columns, long by_depth, long by_column, void *to, int as_bf16, long threads) {
#pragma omp parallel for num_threads(threads) schedule(static) if (depth * columns > 16384)
  for (long p = 0; p < panels(columns); p++) {
    long start = start_of(p, columns), wide = width_of(p, columns), left = columns - start;
    const float *from = w + start * by_column;
#if defined(__AVX512F__)
    if (by_depth == 1 && by_column > 1) {
      void *panel = as_bf16 ? (void *)((bf16 *)to + start * padded(depth)) : (float *)to + start * depth;
      pack_columns(from, depth, wide, left, by_column, as_bf16, panel);
      continue;
    }
#endif
    if (as_bf16) pack_bf16_panel(from, depth, wide, left, by_depth, by_column, (bf16 *)to + start * padded(depth));
    else pack_panel(from, depth, wide, left, by_depth, by_column, (float *)to + start * depth);
  }
}

/* What the matrices of a large product are made of: bfloat16 operands; the left one, the result stored as such. */
enum { BF16 = 1, FROM_BF16 = 2, TO_BF16 = 4 };
#define BLOCK 96 /* rows of a large product that stay in the cache while all panels pass */
#define DEPTH 512 /* columns of a that are worked off at a time, so that block and panel stay in the cache */

/* One block of rows of `large`, and panels first..last of its columns. */
static void block_of(const char *a, long row_a, long rows, long depth, const void *packed, long columns, const float *bias,
                     char *c, long row_c, int kind, long first, long last, bf16 *rounded) {
  const void *from[BLOCK]; void *to[BLOCK];
  for (long r = 0; r < rows; r++) {
    from[r] = a + r * row_a;
    to[r] = c + r * row_c;
  }
  if (kind & BF16) {
    bf16_rows(from, kind & FROM_BF16, rows, packed, depth, columns, to, kind & TO_BF16 ? NARROW_DOWN : WRITE, bias,
              first, last, rounded);
    return;
  }
  for (long k = 0; k < depth; k += DEPTH) {
    long deep = least(DEPTH, depth - k);
    const float *part[BLOCK]; float *shifted[BLOCK];
    for (long r = 0; r < rows; r++) part[r] = (const float *)from[r] + k;
    for (long p = first; p < last; p++) {
      long start = start_of(p, columns), wide = width_of(p, columns);
      for (long r = 0; r < rows; r++) shifted[r] = (float *)to[r] + start;
      panel(part, rows, (const float *)packed + start * depth + k * wide, deep, shifted, wide / V, columns - start,
            k > 0 ? ADD : WRITE, bias && k == 0 ? bias + start : NULL);
    }
  }
}

/* c[m][n] = a [m, depth] times a packed matrix, + bias. Threads share the rows; the panels too where rows are few. */
void large(const void *a, long lda, long m, long depth, const void *packed, long columns, const float *bias, void *c,
           long ldc, int kind, long threads) {
  long blocks = (m + BLOCK - 1) / BLOCK, all = panels(columns), groups = least(all, (2 * threads + blocks - 1) / blocks);
  long row_a = lda * (kind & FROM_BF16 ? 2 : 4), row_c = ldc * (kind & TO_BF16 ? 2 : 4);
  if (blocks >= 4 * threads) groups = 1;
#pragma omp parallel num_threads(threads) if (m * depth * columns > 100000)
  {
    bf16 *rounded = kind & BF16 ? malloc(sizeof(bf16) * BLOCK * padded(depth)) : NULL;
#pragma omp for schedule(dynamic, 1)
    for (long item = 0; item < blocks * groups; item++) {
      long b = item / groups, g = item % groups;
      block_of((const char *)a + b * BLOCK * row_a, row_a, least(BLOCK, m - b * BLOCK), depth, packed, columns, bias,
               (char *)c + b * BLOCK * row_c, row_c, kind, g * all / groups, (g + 1) * all / groups, rounded);
    }
    free(rounded);
  }
}

#define BY_STRIP const float *a
TILE(strip_1, ROWS, 1, BY_STRIP, a[k * ROWS + m])
TILE(strip_2, ROWS, 2, BY_STRIP, a[k * ROWS + m])
TILE(strip_3, ROWS, 3, BY_STRIP, a[k * ROWS + m])

#ifdef __AVX512BF16__
#define BF16_BY_STRIP const bf16 *a
BF16_TILE(bf16_strip_1, ROWS, 1, BF16_BY_STRIP, a + (k * ROWS + m) * 2)
BF16_TILE(bf16_strip_2, ROWS, 2, BF16_BY_STRIP, a + (k * ROWS + m) * 2)
BF16_TILE(bf16_strip_3, ROWS, 3, BF16_BY_STRIP, a + (k * ROWS + m) * 2)
#endif

#define LONG 256                      /* rows (the summed dimension) that are packed at a time, at most */
#define STRIP (LONG * ROWS + 16)      /* floats between strips: at a distance of 4 KiB they would share cache lines */
static long strips(long m) { return (m + ROWS - 1) / ROWS; }

/* b of c[i][j] = sum_r a[r][i] b[r][j], as rows or as pointers to rows, and c; `columns` of each. */
typedef struct {
  const float *b; long ldb;
  const float *const *row; /* or NULL */
  long columns;
  float *c; long ldc;
} Side;
static inline const float *row_of(const Side *side, long r) { return side->row ? side->row[r] : side->b + r * side->ldb; }

static long columns_of(const Side *side, long sides) {
  long sum = 0;
  for (long k = 0; k < sides; k++) sum += vectors(side[k].columns) * V;
  return sum;
}
/* Floats that a thread of `outer` needs: packed pieces of a and b, and its own sums. */
long outer_size(long m, const Side *side, long sides) {
  return strips(m) * STRIP + LONG * PANEL + ROWS * strips(m) * (columns_of(side, sides) + 1) + 64;
}

/* [deep][m] -> strips [deep][ROWS], GROUP rows at a time: strips are pages apart, and each visit of a page costs */
#define GROUP 8
static void pack_strips(const float *a, long lda, long deep, long m, float *to) {
  for (long k = 0; k < deep; k += GROUP) {
    const float *from = a + k * lda;
    long many = least(GROUP, deep - k), s = 0;
    for (; (s + 1) * ROWS <= m; s++)
      for (long g = 0; g < many; g++) memcpy(to + s * STRIP + (k + g) * ROWS, from + g * lda + s * ROWS, 4 * ROWS);
    for (long g = 0; s * ROWS < m && g < many; g++)
      for (long i = 0; i < ROWS; i++)
        to[s * STRIP + (k + g) * ROWS + i] = s * ROWS + i < m ? from[g * lda + s * ROWS + i] : 0;
  }
}

#ifdef __AVX512BF16__
/* V pairs of rows k and k + 1 of a matrix of `deep` rows, from column s on; n of them are real. */
static inline __m512i pairs_in(const void *a, int narrow, long lda, long k, long deep, long s, long n) {
  if (k >= deep) return _mm512_setzero_si512();
  if (narrow) {
    const bf16 *upper = (const bf16 *)a + k * lda + s;
    return pairs_of_bf16(upper, k + 1 < deep ? upper + lda : NULL, n);
  }
  const float *upper = (const float *)a + k * lda + s;
  return pairs_of(upper, k + 1 < deep ? upper + lda : NULL, n);
}
/* The same in pairs of rows; a strip has half as many floats of memory, and as much space. */
static void pack_bf16_strips(const void *a, int narrow, long lda, long deep, long m, float *to) {
  for (long k = 0; k < padded(deep); k += 2)
    for (long s = 0; s < m; s += V) {
      __m512i pairs = pairs_in(a, narrow, lda, k, deep, s, m - s);
      _mm256_storeu_si256((__m256i *)(to + s / ROWS * STRIP + k / 2 * ROWS), _mm512_castsi512_si256(pairs));
      if (s + ROWS < m)
        _mm256_storeu_si256((__m256i *)(to + (s / ROWS + 1) * STRIP + k / 2 * ROWS), _mm512_extracti64x4_epi64(pairs, 1));
    }
}
#endif
#ifdef TALL
/* The same for tiles: each has TALL columns as its rows, and stands where two strips would. */
static void pack_tiles(const void *a, int narrow, long lda, long deep, long m, float *to) {
  for (long k = 0; k < deep; k += DEEP)
    for (long s = 0; s < m; s += TALL) {
      __m512i square[TALL];
      for (long i = 0; i < TALL; i++) square[i] = pairs_in(a, narrow, lda, k + 2 * i, deep, s, m - s);
      transpose(square);
      memcpy(to + s / ROWS * STRIP + k / 2 * TALL, square, sizeof square);
    }
}
#endif

/* Rows begin..+deep of `wide` columns from `column` on. */
static void pack_side(const Side *side, long begin, long deep, long column, long wide, int as_bf16, float *to) {
  long valid = side->columns - column;
#ifdef __AVX512BF16__
  if (as_bf16) {
    bf16 *narrow = (bf16 *)to;
    for (long k = 0; k < deep; k += 2, narrow += 2 * wide) {
      const float *upper = row_of(side, begin + k) + column, *lower = k + 1 < deep ? row_of(side, begin + k + 1) + column : NULL;
      for (long j = 0; j < wide; j += V) _mm512_storeu_si512(narrow + 2 * j, pairs_of(upper + j, lower ? lower + j : NULL, valid - j));
    }
    long rest = padded(deep) - (deep + 1) / 2 * 2;
    memset(narrow, 0, sizeof(bf16) * rest * wide);
    return;
  }
#endif
  (void)as_bf16;
  for (long k = 0; k < deep; k++, to += wide) {
    const float *from = row_of(side, begin + k) + column;
    for (long j = 0; j < wide; j += V) store(to + j, get(from + j, valid - j));
  }
}

/* The rows of c that are worked off at a time, where that many strips are left. */
#ifdef TALL
#define MOST_ROWS (2 * TALL)
static long strip_rows(long left) { return !tiles ? ROWS : left * ROWS >= 2 * TALL ? 2 * TALL : TALL; }
#else
#define MOST_ROWS ROWS
static long strip_rows(long left) { (void)left; return ROWS; }
#endif

static void strip_tile(const float *x, long rows, const float *w, long deep, float *const *to, long n, long columns, int how, int as_bf16) {
#ifdef TALL
  if (as_bf16 && tiles) {
    float sums[2 * TALL * PANEL] __attribute__((aligned(64)));
    some_tiles((const bf16 *)x, 2 * TALL / ROWS * STRIP, DEEP, TALL * DEEP, rows, (const bf16 *)w, padded(deep), n, sums);
    put_tiles(sums, rows, n, to, columns, how, NULL);
    return;
  }
#endif
  (void)rows;
#ifdef __AVX512BF16__
  if (as_bf16) {
    if (n == 3) bf16_strip_3((const bf16 *)x, (const bf16 *)w, padded(deep) / 2, to, columns, how, NULL);
    else if (n == 2) bf16_strip_2((const bf16 *)x, (const bf16 *)w, padded(deep) / 2, to, columns, how, NULL);
    else bf16_strip_1((const bf16 *)x, (const bf16 *)w, padded(deep) / 2, to, columns, how, NULL);
    return;
  }
#endif
  (void)as_bf16;
  if (n == 3) strip_3(x, w, deep, to, columns, how, NULL);
  else if (n == 2) strip_2(x, w, deep, to, columns, how, NULL);
  else strip_1(x, w, deep, to, columns, how, NULL);
}

/* sums[i] += a[i] of one row. */
static void add_row(float *sums, const void *a, int narrow, long n) {
  for (long i = 0; i < n; i += V) {
#ifdef __AVX512BF16__
    if (narrow) { put(sums + i, get(sums + i, n - i) + get_bf16((const bf16 *)a + i, n - i), n - i); continue; }
#endif
    put(sums + i, get(sums + i, n - i) + get((const float *)a + i, n - i), n - i);
  }
}

/* c[i][j] = sum_r a[r][i] b[r][j] for r < rows, of all sides, and sums[i] = sum_r a[r][i]: a weight's gradients and a
 * bias's. Where there are columns of a enough, each thread has its own; else its own rows, and the threads' sums are
 * added up at the end. */
void outer(const void *a, long lda, long rows, long m, const Side *side, long sides, float *sums, float *work, long size,
           int kind, long threads) {
  int own = strips(m) >= 24 * threads, as_bf16 = kind & BF16, narrow = kind & FROM_BF16;
#pragma omp parallel num_threads(threads)
  {
    long id = omp_get_thread_num(), team = omp_get_num_threads(), many = strips(m);
    long first = own ? id * many / team * ROWS : 0, past = own ? least(m, (id + 1) * many / team * ROWS) : m;
    long begin = own ? 0 : id * rows / team, end = own ? rows : (id + 1) * rows / team, share = end - begin;
    float *pa = work + id * size, *pb = pa + many * STRIP, *column = pb + LONG * PANEL, *sum = column + many * ROWS;
    float unused[PANEL];
    many = strips(past - first);
    memset(column, 0, 4 * (past - first));
    /* Pieces of one length, whole pairs (or tiles) of bfloat16. */
    long most = as_bf16 ? LONG : 160, pieces = share > 0 ? (share + most - 1) / most : 1;
    long each = share > 0 ? padded((share + pieces - 1) / pieces) : DEEP;
#ifdef TALL
    if (as_bf16 && tiles) shape_tiles(TALL);
#endif
    for (long k = begin; k < end || k == begin; k += each) {
      long deep = least(each, end - k);
      const char *from = (const char *)a + (k * lda + first) * (narrow ? 2 : 4);
      for (long r = 0; sums && r < deep; r++) add_row(column, from + r * lda * (narrow ? 2 : 4), narrow, past - first);
#ifdef __AVX512BF16__
      if (as_bf16 && !tiles) pack_bf16_strips(from, narrow, lda, deep, past - first, pa); else
#endif
#ifdef TALL
      if (as_bf16) pack_tiles(from, narrow, lda, deep, past - first, pa); else
#endif
      pack_strips((const float *)from, lda, deep, past - first, pa);
      float *mine = sum;
      for (const Side *b = side; b < side + sides; b++) {
        long wide = vectors(b->columns) * V;
        for (long p = 0; p < panels(b->columns); p++) {
          long j = start_of(p, b->columns), n = width_of(p, b->columns);
          pack_side(b, k, deep, j, n, as_bf16, pb);
          for (long s = 0, rows = 0; s < many; s += rows / ROWS) {
            rows = as_bf16 ? strip_rows(many - s) : ROWS;
            float *to[MOST_ROWS];
            for (long r = 0; r < rows; r++) {
              long i = first + s * ROWS + r;
              to[r] = s + r / ROWS >= many ? unused : !own ? mine + i * wide + j : i < past ? b->c + i * b->ldc + j : unused;
            }
            strip_tile(pa + s * STRIP, rows, pb, deep, to, n / V, own ? b->columns - j : n, k > begin ? ADD : WRITE, as_bf16);
          }
        }
        mine += many * ROWS * wide;
      }
    }
#ifdef TALL
    if (as_bf16 && tiles) _tile_release();
#endif
    if (own && sums) memcpy(sums + first, column, 4 * (past - first));
#pragma omp barrier
    float *at = work + strips(m) * STRIP + LONG * PANEL;
    if (!own && sums) {
#pragma omp for schedule(static)
      for (long i = 0; i < m; i++) {
        sums[i] = 0;
        for (long t = 0; t < team; t++) sums[i] += at[t * size + i];
      }
    }
    at += strips(m) * ROWS;
    for (const Side *b = side; !own && b < side + sides; b++) {
      long wide = vectors(b->columns) * V;
#pragma omp for schedule(static)
      for (long i = 0; i < m; i++)
        for (long j = 0; j < b->columns; j++) {
          float x = 0;
          for (long t = 0; t < team; t++) x += at[t * size + i * wide + j];
          b->c[i * b->ldc + j] = x;
        }
      at += strips(m) * ROWS * wide;
    }
  }
}

/* Weights of 8 bits, for inference: a column is its scale times whole numbers from -127 to 127. Operands and sums stay
 * float32, so that nothing but the weights is rounded. */
static inline vec load_bytes(const int8_t *p) {
#if defined(__AVX512F__)
  return (vec)_mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(_mm_loadu_si128((const __m128i *)p)));
#else
  vec x;
  for (int i = 0; i < V; i++) x[i] = p[i];
  return x;
#endif
}
#define BYTE_TILE(NAME, MR, NV)                                                                                      \
  static void NAME(const float *const *a, const int8_t *w, long depth, float *const *c, long columns, int how,       \
                   const float *bias, const float *scale) {                                                          \
    vec s[MR][NV];                                                                                                   \
    for (int m = 0; m < MR; m++)                                                                                     \
      for (int n = 0; n < NV; n++) s[m][n] = splat(0);                                                               \
    for (long k = 0; k < depth; k++) {                                                                               \
      vec b[NV];                                                                                                     \
      for (int n = 0; n < NV; n++) b[n] = load_bytes(w + k * NV * V + n * V);                                        \
      for (int m = 0; m < MR; m++)                                                                                   \
        for (int n = 0; n < NV; n++) s[m][n] += splat(a[m][k]) * b[n];                                               \
    }                                                                                                                \
    for (int m = 0; m < MR; m++)                                                                                     \
      for (int n = 0; n < NV; n++)                                                                                   \
        put(c[m] + n * V, BEGIN(PART) + s[m][n] * load(scale + n * V) + OLD(PART), columns - n * V);                      \
  }
#define BYTE_TILES(MR) BYTE_TILE(byte_##MR##_1, MR, 1) BYTE_TILE(byte_##MR##_2, MR, 2) BYTE_TILE(byte_##MR##_3, MR, 3)
BYTE_TILES(1) BYTE_TILES(2) BYTE_TILES(4)
#if ROWS == 8
BYTE_TILES(8)
#endif
#undef CALL
#define CALL(STEM, MR, n, PACKED)                                                                                    \
  if (n == 3) STEM##_##MR##_3(a + r, PACKED, depth, c + r, columns, how, bias, scale);                               \
  else if (n == 2) STEM##_##MR##_2(a + r, PACKED, depth, c + r, columns, how, bias, scale);                          \
  else STEM##_##MR##_1(a + r, PACKED, depth, c + r, columns, how, bias, scale);
static void byte_panel(const float *const *a, long rows, const int8_t *w, long depth, float *const *c, long n, long columns, int how,
                       const float *bias, const float *scale) {
  DOWN(int8_t, byte, w)
}

/* product_fn for weights of 8 bits; the scales of all columns follow the panels. */
void byte_product(const void *const *a, long rows, const void *packed, long depth, long columns, float *const *c, int add,
                  long first, long last, void *scratch) {
  (void)scratch;
  const float *scale = (const float *)((const char *)packed + vectors(columns) * V * depth);
  float *to[MOST];
  for (long begin = 0; begin < rows; begin += MOST) {
    long some = least(MOST, rows - begin);
    for (long p = first; p < last; p++) {
      long start = start_of(p, columns), n = width_of(p, columns) / V;
      for (long r = 0; r < some; r++) to[r] = c[begin + r] + start;
      byte_panel((const float *const *)a + begin, some, (const int8_t *)packed + start * depth, depth, to, n,
                 columns - start, add ? ADD : WRITE, NULL, scale + start);
    }
  }
}

/* Bytes that `pack_bytes` writes. */
long byte_size(long depth, long columns) { return vectors(columns) * V * (depth + 4); }

void pack_bytes(const float *w, long depth, long columns, long by_depth, long by_column, void *to) {
  int8_t *q = to;
  float *scale = (float *)(q + vectors(columns) * V * depth);
  for (long p = 0; p < panels(columns); p++) {
    long start = start_of(p, columns), wide = width_of(p, columns);
    for (long j = 0; j < wide; j++) {
      long column = start + j;
      const float *from = w + column * by_column;
      float most = 0;
      for (long k = 0; column < columns && k < depth; k++) most = fmaxf(most, fabsf(from[k * by_depth]));
      scale[column] = most / 127;
      for (long k = 0; k < depth; k++)
        q[start * depth + k * wide + j] = most > 0 ? (int8_t)lrintf(from[k * by_depth] / scale[column]) : 0;
    }
  }
}

/* c = bias + a times a packed matrix for a few rows, the panels shared among threads: a step's input side. */
void few(product_fn *multiply, const float *a, long rows, const void *packed, long depth, long columns, const float *bias,
         float *c, void *scratch, long scratch_size, long threads) {
#pragma omp parallel num_threads(threads)
  {
    long id = omp_get_thread_num(), team = omp_get_num_threads(), all = panels(columns);
    long first = id * all / team, last = (id + 1) * all / team;
    const void *from[rows]; float *to[rows];
    for (long r = 0; r < rows; r++) {
      from[r] = a + r * depth;
      to[r] = c + r * columns;
      long begin = start_of(first, columns), end = least(columns, start_of(last, columns));
      if (bias && end > begin) memcpy(to[r] + begin, bias + begin, 4 * (end - begin));
    }
    multiply(from, rows, packed, depth, columns, to, bias != NULL, first, last, (char *)scratch + id * scratch_size);
  }
}
