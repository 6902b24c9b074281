/* One time step through all layers in one call, with the weights where they stand: nothing is kept of them from one call to
 * the next, so that nothing can be out of date. */
#include "native.h"
#include <omp.h>

#define MOST 48   /* as in Call */
#define PACKED 24 /* rows of the batch from which on the sums of `dots` cost more than to pack the weight */

/* What native.c has of this. */
typedef void pack_fn(const float *w, long depth, long columns, long by_depth, long by_column, void *to, int halved, long threads);

/* What `by_rows` is given as a packed matrix: rows of the weight itself. */
typedef struct {
  const float *start;
  long apart;
  pack_fn *pack;
  product_fn *product;
} Matrix;

/* The sums over each of four vectors. */
static inline void totals(const vec *s, float *to) {
#if defined(__AVX512F__)
  __m256 half[4];
  for (int i = 0; i < 4; i++)
    half[i] = _mm256_add_ps(_mm512_castps512_ps256((__m512)s[i]),
                            _mm256_castpd_ps(_mm512_extractf64x4_pd(_mm512_castps_pd((__m512)s[i]), 1)));
  __m256 sums = _mm256_hadd_ps(_mm256_hadd_ps(half[0], half[1]), _mm256_hadd_ps(half[2], half[3]));
  _mm_storeu_ps(to, _mm_add_ps(_mm256_castps256_ps128(sums), _mm256_extractf128_ps(sums, 1)));
#else
  for (int i = 0; i < 4; i++) to[i] = total(s[i]);
#endif
}

/* Loaded once: the compiler would rather read from memory in each product, of which there are more than loads per clock. */
#if defined(__AVX512F__)
#define HELD(x) __asm__("" : "+v"(x))
#else
#define HELD(x)
#endif

/* c[m][j] = sum_k a[m][k] w[j][k] for MR rows of a and NR of w (a multiple of 4); the next rows of w are fetched ahead. */
#define DOTS(NAME, MR, NR)                                                                                           \
  static void NAME(const float *const *a, const float *w, long apart, long depth, float *const *c, int add) {        \
    vec s[MR][NR];                                                                                                   \
    _Pragma("GCC unroll 8") for (int m = 0; m < MR; m++)                                                             \
      _Pragma("GCC unroll 8") for (int j = 0; j < NR; j++) s[m][j] = all(0);                                         \
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
      for (int j = 0; j < NR; j += 4) totals(s[m] + j, sums + j);                                                    \
      for (int j = 0; j < NR; j++) c[m][j] = sums[j] + (add ? c[m][j] : 0);                                          \
    }                                                                                                                \
  }
DOTS(dots_1, 1, 8)
DOTS(dots_2, 2, 4)
#if defined(__AVX512F__)
DOTS(dots_4, 4, 4)
#endif

/* One row of w that is left over. */
static float dot(const float *a, const float *w, long depth) {
  vec s = all(0);
  long k = 0;
  for (; k + V <= depth; k += V) s += load(a + k) * load(w + k);
  if (k < depth) s += load_part(a + k, depth - k) * load_part(w + k, depth - k);
  return total(s);
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

/* The same by the product of packed matrices: as many rows of w at a time as fill a panel are packed into scratch. */
static void panels_of(const void *const *a, long rows, const Matrix *w, long depth, float *const *c, int add, long begin,
                      long end, float *scratch) {
  float *to[rows];
  for (long j = begin; j < end; j += PANEL) {
    const long columns = j + PANEL < end ? PANEL : end - j;
    for (long r = 0; r < rows; r++) to[r] = c[r] + j;
    w->pack(w->start + j * w->apart, depth, columns, 1, w->apart, scratch, 0, 1);
    w->product(a, rows, scratch, depth, columns, to, add, 0, 1, NULL);
  }
}

static void multiply(const void *const *a, long rows, const Matrix *w, long depth, float *const *c, int add, long begin,
                     long end, float *scratch) {
  if (rows < PACKED) rows_of(a, rows, w, depth, c, add, begin, end);
  else panels_of(a, rows, w, depth, c, add, begin, end, scratch);
}

static inline long edge(long panel, long columns) { return panel * columns / ((columns + PANEL - 1) / PANEL); }

/* product_fn for a Matrix. */
void by_rows(const void *const *a, long rows, const void *packed, long depth, long columns, float *const *c, int add,
             long first, long last, void *scratch) {
  if (first < last) multiply(a, rows, packed, depth, c, add, edge(first, columns), edge(last, columns), scratch);
}

/* A layer, and where its weights are in the table of a call. */
typedef struct {
  Call call;
  void (*forward)(const Call *);
  long width, inputs, outputs, aliased, states, sizes[8];
  long matrix, bias[2];        /* of the input side; -1: none */
  pack_fn *pack;               /* of native.c */
  product_fn *product;
  long params, param[MOST], param_offset[MOST];
  long products, packed[MOST], packed_offset[MOST], apart[MOST];
  Matrix matrices[MOST];
} Layer;

int holds_nan(const float *x, long n) {
  int found = 0;
  for (long i = 0; i < n; i++) found |= x[i] != x[i];
  return found;
}

static void prepare(Layer *layer, long number, void *const *table) {
  Call *call = &layer->call;
  for (long k = 0; k < layer->states; k++) {
    const long offset = number * call->batch * layer->sizes[k];
    call->initial[k] = (float *)table[2 + k] + offset;
    call->state[k] = (float *)table[2 + layer->states + k] + offset;
  }
  for (long k = 0; k < layer->params; k++) call->param[k] = (float *)table[layer->param[k]] + layer->param_offset[k];
  for (long k = 0; k < layer->products; k++) {
    const float *start = (float *)table[layer->packed[k]] + layer->packed_offset[k];
    layer->matrices[k] = (Matrix){start, layer->apart[k], layer->pack, layer->product};
    call->packed[k] = &layer->matrices[k];
  }
  call->product = call->of_units = by_rows;
  if (layer->aliased) call->out = call->state[0];
}

/* u = x W' + both biases, the share of one of a team. */
static void project(const Layer *layer, const float *x, void *const *table, long id, long team) {
  const Call *call = &layer->call;
  const Matrix weight = {table[layer->matrix], layer->width, layer->pack, layer->product};
  const float *first = layer->bias[0] < 0 ? NULL : table[layer->bias[0]], *second = layer->bias[1] < 0 ? NULL : table[layer->bias[1]];
  const long columns = layer->inputs, begin = id * columns / team, end = (id + 1) * columns / team;
  const void *from[call->batch];
  float *to[call->batch];
  for (long r = 0; r < call->batch; r++) {
    from[r] = x + r * layer->width;
    to[r] = (float *)call->u + r * columns;
    if (first) memcpy(to[r] + begin, first + begin, sizeof(float) * (end - begin));
    for (long j = begin; second && j < end; j++) to[r][j] += second[j];
  }
  multiply(from, call->batch, &weight, layer->width, to, first != NULL, begin, end, call->scratch + (1 + id) * call->scratch_size);
}

/* table: x [B, D]; the output [B, O] or NULL, if it is the hidden state and no copy is wanted; each state [layers, B, n]
 * before and after the step; the weights. 1: a state that is given holds NaN, nothing was done. */
int step(Layer *layers, long count, void *const *table, int checked) {
  for (long k = 0; checked && k < layers->states; k++)
    if (holds_nan(table[2 + k], count * layers->call.batch * layers->sizes[k])) return 1;
  const Layer *top = layers + count - 1;
  const float *below = table[0];
  for (long number = 0; number < count; number++) {
    Layer *layer = layers + number;
    prepare(layer, number, table);
    if (layer == top && !layer->aliased) layer->call.out = table[1];
    if (layer->call.threads == 1) project(layer, below, table, 0, 1);
    else {
#pragma omp parallel num_threads(layer->call.threads)
      project(layer, below, table, omp_get_thread_num(), omp_get_num_threads());
    }
    layer->forward(&layer->call);
    below = layer->call.out;
  }
  if (top->aliased && table[1]) memcpy(table[1], below, sizeof(float) * top->call.batch * top->outputs);
  return 0;
}
