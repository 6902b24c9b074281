/* Products with a weight in place, row by row or with its transpose: for a step that reads it once. */
#include <omp.h>

#define PACKED 24 /* rows of the batch from which the sums of `dots` cost more than packing the weight */

/* Defined in native.c. */
typedef void pack_fn(const float *w, long depth, long columns, long by_depth, long by_column, void *to, int as_bf16, long threads);

/* What `by_rows` takes as a packed matrix: rows of the weight itself. */
typedef struct {
  const float *start;
  long apart;
  pack_fn *pack;
  product_fn *product;
} Matrix;

/* The sums over each of four vectors. */
static inline void hsums(const vec *s, float *to) {
#if defined(__AVX512F__)
  __m256 half[4];
  for (int i = 0; i < 4; i++)
    half[i] = _mm256_add_ps(_mm512_castps512_ps256((__m512)s[i]),
                            _mm256_castpd_ps(_mm512_extractf64x4_pd(_mm512_castps_pd((__m512)s[i]), 1)));
  __m256 sums = _mm256_hadd_ps(_mm256_hadd_ps(half[0], half[1]), _mm256_hadd_ps(half[2], half[3]));
  _mm_storeu_ps(to, _mm_add_ps(_mm256_castps256_ps128(sums), _mm256_extractf128_ps(sums, 1)));
#else
  for (int i = 0; i < 4; i++) to[i] = hsum(s[i]);
#endif
}

/* Loaded once: the compiler would otherwise read memory in each product, and there are more products than loads per clock. */
#if defined(__AVX512F__)
#define HELD(x) __asm__("" : "+v"(x))
#else
#define HELD(x)
#endif

/* c[m][j] = sum_k a[m][k] w[j][k] for MR rows of a and NR of w (a multiple of 4); the next rows of w are prefetched. */
#define DOTS(NAME, MR, NR)                                                                                           \
  static void NAME(const float *const *a, const float *w, long apart, long depth, float *const *c, int add) {        \
    vec s[MR][NR];                                                                                                   \
    _Pragma("GCC unroll 8") for (int m = 0; m < MR; m++)                                                             \
      _Pragma("GCC unroll 8") for (int j = 0; j < NR; j++) s[m][j] = splat(0);                                       \
    long k = 0;                                                                                                      \
    for (; k + V <= depth; k += V) {                                                                                 \
      vec x[MR];                                                                                                     \
      _Pragma("GCC unroll 8") for (int m = 0; m < MR; m++) { x[m] = load(a[m] + k); HELD(x[m]); }                    \
      _Pragma("GCC unroll 8") for (int j = 0; j < NR; j++) {                                                         \
        vec y = load(w + j * apart + k);                                                                             \
        if (MR > 1) HELD(y);                                                                                         \
        __builtin_prefetch(w + (j + NR) * apart + k);                                                                \
        _Pragma("GCC unroll 8") for (int m = 0; m < MR; m++) s[m][j] += x[m] * y;                                    \
      }                                                                                                              \
    }                                                                                                                \
    if (k < depth) {                                                                                                 \
      _Pragma("GCC unroll 8") for (int j = 0; j < NR; j++) {                                                         \
        vec y = load_part(w + j * apart + k, depth - k);                                                             \
        _Pragma("GCC unroll 8") for (int m = 0; m < MR; m++) s[m][j] += load_part(a[m] + k, depth - k) * y;          \
      }                                                                                                              \
    }                                                                                                                \
    _Pragma("GCC unroll 8") for (int m = 0; m < MR; m++) {                                                           \
      float sums[NR];                                                                                                \
      for (int j = 0; j < NR; j += 4) hsums(s[m] + j, sums + j);                                                     \
      for (int j = 0; j < NR; j++) c[m][j] = sums[j] + (add ? c[m][j] : 0);                                          \
    }                                                                                                                \
  }
DOTS(dots_1, 1, 8)
DOTS(dots_2, 2, 4)
#if defined(__AVX512F__)
DOTS(dots_4, 4, 4)
#endif

/* A remaining row of w. */
static float dot(const float *a, const float *w, long depth) {
  vec s = splat(0);
  long k = 0;
  for (; k + V <= depth; k += V) s += load(a + k) * load(w + k);
  if (k < depth) s += load_part(a + k, depth - k) * load_part(w + k, depth - k);
  return hsum(s);
}

/* All rows of a with rows begin..end of w, `many` at a time. */
static void rows_of(const void *const *a, long rows, const Matrix *w, long depth, float *const *c, int add, long begin,
                    long end) {
  const long many = rows == 1 ? 8 : 4;
  long j = begin;
  for (; j + many <= end; j += many) {
    const float *from = w->start + j * w->apart;
    for (long r = 0; r < rows;) {
      const float *const *x = (const float *const *)a + r;
      float *to[4];
      for (long m = 0; m < 4 && r + m < rows; m++) to[m] = c[r + m] + j;
#if defined(__AVX512F__)
      if (rows - r >= 4) { dots_4(x, from, w->apart, depth, to, add); r += 4; continue; }
#endif
      if (rows - r >= 2) { dots_2(x, from, w->apart, depth, to, add); r += 2; continue; }
      if (many == 8) { dots_1(x, from, w->apart, depth, to, add); r++; continue; }
      for (long i = 0; i < many; i++) to[0][i] = dot(x[0], from + i * w->apart, depth) + (add ? to[0][i] : 0);
      r++;
    }
  }
  for (; j < end; j++)
    for (long r = 0; r < rows; r++) c[r][j] = dot(a[r], w->start + j * w->apart, depth) + (add ? c[r][j] : 0);
}

/* c[m][j] (+)= sum_k a[m][k] w[k][j] for MR rows of a and NV vectors of columns, of the last of which `part` are there. */
#define SPREAD(NAME, MR, NV)                                                                                           \
  static void NAME(const float *const *a, const float *w, long apart, long depth, float *const *c, int add, long part) { \
    vec s[MR][NV];                                                                                                     \
    _Pragma("GCC unroll 12") for (int m = 0; m < MR; m++)                                                              \
      _Pragma("GCC unroll 12") for (int j = 0; j < NV; j++)                                                            \
        s[m][j] = !add ? splat(0) : j + 1 < NV || part == V ? load(c[m] + j * V) : load_part(c[m] + j * V, part);      \
    for (long k = 0; k < depth; k++, w += apart) {                                                                     \
      vec y[NV];                                                                                                       \
      _Pragma("GCC unroll 12") for (int j = 0; j < NV; j++) {                                                          \
        y[j] = j + 1 < NV || part == V ? load(w + j * V) : load_part(w + j * V, part);                                 \
        __builtin_prefetch(w + 8 * apart + j * V);                                                                     \
      }                                                                                                                \
      _Pragma("GCC unroll 12") for (int m = 0; m < MR; m++)                                                            \
        _Pragma("GCC unroll 12") for (int j = 0; j < NV; j++) s[m][j] += a[m][k] * y[j];                               \
    }                                                                                                                  \
    _Pragma("GCC unroll 12") for (int m = 0; m < MR; m++)                                                              \
      _Pragma("GCC unroll 12") for (int j = 0; j < NV; j++)                                                            \
        if (j + 1 < NV || part == V) store(c[m] + j * V, s[m][j]); else store_part(c[m] + j * V, s[m][j], part);       \
  }
SPREAD(spread_1, 1, 1)
SPREAD(spread_1_wide, 1, 12)
SPREAD(spread_4, 4, 1)
SPREAD(spread_4_wide, 4, 4)
SPREAD(spread_8, 8, 1)
SPREAD(spread_8_wide, 8, WIDE)
typedef void spread_fn(const float *const *a, const float *w, long apart, long depth, float *const *c, int add, long part);

/* All rows of a with w itself in place of its transpose, columns begin..end. */
static void columns_of(const void *const *a, long rows, const Matrix *w, long depth, float *const *c, int add, long begin,
                       long end) {
  for (long r = 0, many; r < rows; r += many) {
    many = rows - r >= 8 ? 8 : rows - r >= 4 ? 4 : 1;
    const long wide = V * (many == 8 ? WIDE : many == 4 ? 4 : 12);
    spread_fn *narrowly = many == 8 ? spread_8 : many == 4 ? spread_4 : spread_1;
    spread_fn *widely = many == 8 ? spread_8_wide : many == 4 ? spread_4_wide : spread_1_wide;
    for (long j = begin, n; j < end; j += n) {
      n = end - j >= wide ? wide : end - j < V ? end - j : V;
      float *to[8];
      for (long m = 0; m < many; m++) to[m] = c[r + m] + j;
      (n == wide ? widely : narrowly)((const float *const *)a + r, w->start + j, w->apart, depth, to, add, n == wide ? V : n);
    }
  }
}

/* Where the share of one of a team begins, of n columns (or rows): a multiple of `whole`. */
static inline long share_of(long id, long team, long n, long whole) {
  return id == team ? n : id * ((n + whole - 1) / whole) / team * whole;
}

/* The same by the product of packed matrices: at most a panel of columns of the result at a time is packed into scratch, where
 * those of w by rows or by columns are; pieces of one width, as a tile of one vector runs at half the rate. */
static void panels_of(const void *const *a, long rows, const Matrix *w, long depth, float *const *c, int add, long begin,
                      long end, int by_column, float *scratch) {
  const long along = by_column ? w->apart : 1, across = by_column ? 1 : w->apart, pieces = (end - begin + PANEL - 1) / PANEL;
  float *to[rows];
  for (long p = 0; p < pieces; p++) {
    const long j = begin + share_of(p, pieces, end - begin, V), columns = begin + share_of(p + 1, pieces, end - begin, V) - j;
    for (long r = 0; r < rows; r++) to[r] = c[r] + j;
    w->pack(w->start + j * across, depth, columns, along, across, scratch, 0, 1);
    w->product(a, rows, scratch, depth, columns, to, add, 0, 1, NULL);
  }
}

static void multiply(const void *const *a, long rows, const Matrix *w, long depth, float *const *c, int add, long begin,
                     long end, int by_column, float *scratch) {
  if (rows >= PACKED) panels_of(a, rows, w, depth, c, add, begin, end, by_column, scratch);
  else (by_column ? columns_of : rows_of)(a, rows, w, depth, c, add, begin, end);
}

/* product_fn for a Matrix: with its transpose, and with itself; and where nobody wants the result. Whole panels would be
 * shared unevenly, so each of the team takes its part of the columns instead of the panels that it is given. */
#define MY_COLUMNS                                                        \
  (void)first, (void)last;                                                \
  const long id = omp_get_thread_num(), team = omp_get_num_threads();     \
  const long begin = share_of(id, team, columns, V), end = share_of(id + 1, team, columns, V);
void by_rows(const void *const *a, long rows, const void *packed, long depth, long columns, float *const *c, int add,
             long first, long last, void *scratch) {
  MY_COLUMNS
  multiply(a, rows, packed, depth, c, add, begin, end, 0, scratch);
}
void by_columns(const void *const *a, long rows, const void *packed, long depth, long columns, float *const *c, int add,
                long first, long last, void *scratch) {
  MY_COLUMNS
  multiply(a, rows, packed, depth, c, add, begin, end, 1, scratch);
}
void unwanted(const void *const *a, long rows, const void *packed, long depth, long columns, float *const *c, int add,
              long first, long last, void *scratch) {
  MY_COLUMNS
  (void)a, (void)packed, (void)depth, (void)scratch;
  for (long r = 0; !add && r < rows; r++) memset(c[r] + begin, 0, sizeof(float) * (end - begin));
}
