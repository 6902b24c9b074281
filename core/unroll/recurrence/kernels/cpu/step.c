/* One time step through all layers in one call, and its gradients in another, with the weights where they stand: nothing is
 * kept of them from one call to the next, so that nothing can be out of date. */
#include "native.h"
#include <omp.h>

#define MOST 48   /* as in Call */
#define PACKED 24 /* rows of the batch from which on the sums of `dots` cost more than to pack the weight */

/* What native.c has of this. */
typedef void pack_fn(const float *w, long depth, long columns, long by_depth, long by_column, void *to, int as_bf16, long threads);

/* What `by_rows` is given as a packed matrix: rows of the weight itself. */
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

/* One row of w that is left over. */
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

/* The same by the product of packed matrices: as many columns of the result at a time as fill a panel are packed into scratch,
 * where those of w by rows or by columns are. */
static void panels_of(const void *const *a, long rows, const Matrix *w, long depth, float *const *c, int add, long begin,
                      long end, int by_column, float *scratch) {
  const long along = by_column ? w->apart : 1, across = by_column ? 1 : w->apart;
  float *to[rows];
  for (long j = begin; j < end; j += PANEL) {
    const long columns = j + PANEL < end ? PANEL : end - j;
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

static inline long edge(long panel, long columns) { return panel * columns / ((columns + PANEL - 1) / PANEL); }

/* product_fn for a Matrix: with its transpose, and with itself; and where nobody wants the result. */
void by_rows(const void *const *a, long rows, const void *packed, long depth, long columns, float *const *c, int add,
             long first, long last, void *scratch) {
  if (first < last) multiply(a, rows, packed, depth, c, add, edge(first, columns), edge(last, columns), 0, scratch);
}
void by_columns(const void *const *a, long rows, const void *packed, long depth, long columns, float *const *c, int add,
                long first, long last, void *scratch) {
  if (first < last) multiply(a, rows, packed, depth, c, add, edge(first, columns), edge(last, columns), 1, scratch);
}
void unwanted(const void *const *a, long rows, const void *packed, long depth, long columns, float *const *c, int add,
              long first, long last, void *scratch) {
  (void)a, (void)packed, (void)depth, (void)scratch;
  if (!add && first < last)
    for (long r = 0; r < rows; r++) memset(c[r] + edge(first, columns), 0, sizeof(float) * (edge(last, columns) - edge(first, columns)));
}

/* Parts of weights, as the products of one direction read them: which of the table, and where in it. */
typedef struct {
  long count, place[MOST], offset[MOST], apart[MOST];
} Parts;

/* A layer, and where its weights are in the table of a call. */
typedef struct {
  Call call;
  void (*forward)(const Call *), (*keep)(const Call *), (*backward)(const Call *);
  long width, inputs, outputs, aliased, states, sizes[8];
  long matrix, bias[2];        /* of the input side; -1: none */
  pack_fn *pack;               /* of native.c */
  product_fn *product;
  long params, param[MOST], param_offset[MOST];
  Parts packed, back;
  Matrix matrices[MOST];
  float *u, *spare;            /* [B, P]; [B, O] and each state's [B, n] */
  long over_u, saved, gradients, vectors; /* for the backward step: `saved` and the widths of d_product[0] and d_param */
} Layer;

int holds_nan(const float *x, long n) {
  int found = 0;
  for (long i = 0; i < n; i++) found |= x[i] != x[i];
  return found;
}

/* What the forward and the backward step of a call read. */
static void prepare(Layer *layer, long number, void *const *table, const Parts *parts, product_fn *product) {
  Call *call = &layer->call;
  for (long k = 0; k < layer->states; k++)
    call->initial[k] = (float *)table[2 + k] + number * call->batch * layer->sizes[k];
  for (long k = 0; k < layer->params; k++) call->param[k] = (float *)table[layer->param[k]] + layer->param_offset[k];
  for (long k = 0; k < parts->count; k++) {
    const float *start = (float *)table[parts->place[k]] + parts->offset[k];
    layer->matrices[k] = (Matrix){start, parts->apart[k], layer->pack, layer->product};
    call->packed[k] = &layer->matrices[k];
  }
  call->product = call->of_units = product;
  call->u = layer->u;
}

/* The floats that the backward step needs of a layer stand one after another; where the next layer's do. */
static float *keep(Layer *layer, float *kept) {
  Call *call = &layer->call;
  if (layer->over_u) {
    call->u = call->kept = kept;
    kept += call->batch * layer->inputs;
  }
  call->saved = kept;
  kept += call->batch * layer->saved;
  for (long k = 0; k < layer->states; k++) {
    call->state[k] = kept;
    kept += call->batch * layer->sizes[k];
  }
  return kept;
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
  multiply(from, call->batch, &weight, layer->width, to, first != NULL, begin, end, 0, call->scratch + (1 + id) * call->scratch_size);
}

/* table: x [B, D]; the output [B, O] or NULL, if it is the hidden state and no copy is wanted; each state [layers, B, n]
 * before and after the step; the weights. kept: NULL, or what `back` needs is written there. 1: a state that is given holds
 * NaN, nothing was done. */
int step(Layer *layers, long count, void *const *table, int checked, float *kept) {
  for (long k = 0; checked && k < layers->states; k++)
    if (holds_nan(table[2 + k], count * layers->call.batch * layers->sizes[k])) return 1;
  const Layer *top = layers + count - 1;
  const float *below = table[0];
  for (long number = 0; number < count; number++) {
    Layer *layer = layers + number;
    Call *call = &layer->call;
    prepare(layer, number, table, &layer->packed, by_rows);
    float *after[8];
    for (long k = 0; k < layer->states; k++)
      call->state[k] = after[k] = (float *)table[2 + layer->states + k] + number * call->batch * layer->sizes[k];
    if (kept) kept = keep(layer, kept);
    if (layer->aliased) call->out = call->state[0];
    else if (layer == top) call->out = table[1];
    if (call->threads == 1) project(layer, below, table, 0, 1);
    else {
#pragma omp parallel num_threads(call->threads)
      project(layer, below, table, omp_get_thread_num(), omp_get_num_threads());
    }
    (kept ? layer->keep : layer->forward)(call);
    below = call->out;
    for (long k = 0; kept && k < layer->states; k++)
      memcpy(after[k], call->state[k], sizeof(float) * call->batch * layer->sizes[k]);
  }
  if (top->aliased && table[1]) memcpy(table[1], below, sizeof(float) * top->call.batch * top->outputs);
  return 0;
}

/* to[i][j] = sum_r a[r][i] b[r][j], r < rows, for MR rows i and NV vectors of columns j, of the last of which `part` are there. */
#define OUTER(NAME, MR, NV)                                                                                            \
  static void NAME(const float *a, long lda, const float *b, long ldb, long rows, float *to, long apart, long part) {  \
    vec s[MR][NV];                                                                                                     \
    _Pragma("GCC unroll 8") for (int m = 0; m < MR; m++)                                                               \
      _Pragma("GCC unroll 8") for (int j = 0; j < NV; j++) s[m][j] = splat(0);                                         \
    for (long r = 0; r < rows; r++, a += lda, b += ldb) {                                                              \
      vec y[NV];                                                                                                       \
      _Pragma("GCC unroll 8") for (int j = 0; j < NV; j++)                                                             \
        y[j] = j + 1 < NV || part == V ? load(b + j * V) : load_part(b + j * V, part);                                 \
      _Pragma("GCC unroll 8") for (int m = 0; m < MR; m++)                                                             \
        _Pragma("GCC unroll 8") for (int j = 0; j < NV; j++) s[m][j] += a[m] * y[j];                                   \
    }                                                                                                                  \
    _Pragma("GCC unroll 8") for (int m = 0; m < MR; m++)                                                               \
      _Pragma("GCC unroll 8") for (int j = 0; j < NV; j++)                                                             \
        if (j + 1 < NV || part == V) store(to + m * apart + j * V, s[m][j]);                                           \
        else store_part(to + m * apart + j * V, s[m][j], part);                                                        \
  }
OUTER(outer_1, 1, 1)
OUTER(outer_1_wide, 1, 4)
OUTER(outer_4, 4, 1)
OUTER(outer_4_wide, 4, 4)

/* The same for all columns, and rows begin..end of `to`. */
static void outer_of(const float *a, long lda, const float *b, long columns, long rows, float *to, long begin, long end) {
  for (long i = begin, many; i < end; i += many) {
    many = end - i >= 4 && rows > 1 ? 4 : 1; /* with one row there is nothing to share, and memory likes one stream */
    for (long j = 0, n; j < columns; j += n) {
      const long left = columns - j, wide = left >= 4 * V;
      n = wide ? 4 * V : left < V ? left : V;
      (many == 4 ? wide ? outer_4_wide : outer_4 : wide ? outer_1_wide : outer_1)(
          a + i, lda, b + j, columns, rows, to + i * columns + j, columns, wide ? V : n);
    }
  }
}

/* to[i] = sum_r a[r][i], begin..end. */
static void sum_of(const float *a, long lda, long rows, float *to, long begin, long end) {
  memcpy(to + begin, a + begin, sizeof(float) * (end - begin));
  for (long r = 1; r < rows; r++)
    for (long i = begin; i < end; i++) to[i] += a[r * lda + i];
}

/* Where the share of one of a team begins: no tile is divided. */
static long begin_of(long id, long team, long n) { return id == team ? n : id * n / team / 4 * 4; }

/* Of a layer whose gradients by its sums are there, the share of one of a team: by x into `below`, and by its weights. */
static void spread_out(const Layer *layer, const float *x, void *const *table, void *const *into, float *below, long id,
                       long team) {
  const Call *call = &layer->call;
  const long rows = call->batch, width = layer->width, units = layer->inputs, own = layer->gradients ? layer->gradients : units;
  const float *d_u = call->d_u, *d_own = layer->gradients ? call->d_product[0] : d_u;
  if (below) {
    const Matrix weight = {table[layer->matrix], width, layer->pack, layer->product};
    const void *from[rows];
    float *to[rows];
    for (long r = 0; r < rows; r++) from[r] = d_u + r * units, to[r] = below + r * width;
    multiply(from, rows, &weight, units, to, 0, id * width / team, (id + 1) * width / team, 1, call->scratch + (1 + id) * call->scratch_size);
  }
  const long begin = begin_of(id, team, units), end = begin_of(id + 1, team, units);
  const long first = begin_of(id, team, own), past = begin_of(id + 1, team, own);
  if (into[0]) outer_of(d_u, units, x, width, rows, into[0], begin, end);
  if (into[1]) outer_of(d_own, own, call->initial[0], layer->sizes[0], rows, into[1], first, past);
  if (into[2]) sum_of(d_u, units, rows, into[2], begin, end);
  if (into[3]) sum_of(d_own, own, rows, into[3], first, past);
}

/* The gradients of a step whose layers have the weights of torch.nn's cells, in its order. table, kept: as in `step`, but the
 * gradient of the output, and of each state the one after the step, over which the one before it is written if `by_state`;
 * NULL: zero.
 * work: [B, P], [B, Q] of each layer and, below it, [B, D]. into: by x, or NULL; by four weights of each layer, or NULL. */
void back(Layer *layers, long count, void *const *table, float *kept, float *work, void *const *into, int by_state) {
  float *outputs[count];
  for (long number = 0; number < count; number++) {
    kept = keep(layers + number, kept);
    outputs[number] = layers[number].call.state[0];
  }
  const float *above = table[1];
  for (long number = count - 1; number >= 0; number--) {
    Layer *layer = layers + number;
    Call *call = &layer->call;
    const long rows = call->batch;
    prepare(layer, number, table, &layer->back, by_state ? by_columns : unwanted);
    call->out = call->state[0];
    float *spare = layer->spare;
    call->d_out = above ? above : memset(spare, 0, sizeof(float) * rows * layer->outputs);
    spare += rows * layer->outputs;
    for (long k = 0; k < layer->states; spare += rows * layer->sizes[k++]) {
      float *given = table[2 + layer->states + k];
      call->d_state[k] = given ? given + number * rows * layer->sizes[k] : memset(spare, 0, sizeof(float) * rows * layer->sizes[k]);
    }
    call->d_u = work;
    call->d_product[0] = work + rows * layer->inputs;
    work += rows * (layer->inputs + layer->gradients);
    memset(call->d_param, 0, sizeof(float) * call->threads * layer->vectors);
    layer->backward(call);
    float *below = number ? work : into[0];
    const float *x = number ? outputs[number - 1] : table[0];
    if (call->threads == 1) spread_out(layer, x, table, into + 1 + 4 * number, below, 0, 1);
    else {
#pragma omp parallel num_threads(call->threads)
      spread_out(layer, x, table, into + 1 + 4 * number, below, omp_get_thread_num(), omp_get_num_threads());
    }
    above = below;
    if (number) work += rows * layer->width;
  }
}
