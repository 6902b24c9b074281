/* Matrix products: the recurrent one (few rows, weights packed once, called each step) and the large ones. */
#include "native.h"
#include "tiles.h"
#include <omp.h>
#include <stdlib.h>
#include "register_tiles.h"
#include "packing.h"
#include "outer.h"
#include "bytes.h"

/* bfloat16 products: 0: not supported; 1: by AVX-512; 2: by AMX. */
int has_bfloat16(void) {
#ifdef __AVX512BF16__
  return 1 + !!tiles;
#else
  return 0;
#endif
}

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

/* bfloat16: rows of float32 are first rounded into scratch; `narrow` rows are used in place if they can be read as tiles or
 * pairs. */
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

/* product_fn for bfloat16, with rows of float32 and of bfloat16; may be called only if has_bfloat16. */
void bf16_product(const void *const *a, long rows, const void *packed, long depth, long columns, float *const *c, int add,
                  long first, long last, void *scratch) {
  bf16_rows(a, 0, rows, packed, depth, columns, (void *const *)c, add ? ADD : WRITE, NULL, first, last, scratch);
}
void narrow_product(const void *const *a, long rows, const void *packed, long depth, long columns, float *const *c, int add,
                    long first, long last, void *scratch) {
  bf16_rows(a, 1, rows, packed, depth, columns, (void *const *)c, add ? ADD : WRITE, NULL, first, last, scratch);
}

#define BLOCK 96 /* rows of a large product that stay in the cache for all panels */
#define DEPTH 512 /* columns of a processed at a time, so that block and panel stay in the cache */

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

/* c[m][n] = a [m, depth] times a packed matrix, + bias. Threads share the rows, and the panels too if there are few rows. */
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

/* c = bias + a times a packed matrix, for a few rows, with the panels shared among threads: the input side of a step. */
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
