/* The gradients of weights: sums over rows of outer products. */
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

#define LONG 256                      /* most rows (the summed dimension) packed at a time */
#define STRIP (LONG * ROWS + 16)      /* floats between strips: 4 KiB apart they would share cache lines */
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
/* Floats that a thread of `outer` needs: packed pieces of a and b, and its sums. */
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

/* The rows of c processed at a time, if that many strips are left. */
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
 * bias's. If a has enough columns, each thread takes its own; otherwise its own rows, and the threads' sums are added up at
 * the end. */
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
