/* One time step through all layers in one call, and its gradients in another, reading the weights in place: no copies are
 * kept between calls, so nothing can become stale. */
#include "native.h"
#include "unpacked.h"
#include <omp.h>

#define MOST 48 /* as in Call */

/* Parts of weights, as read by the products of one direction: which weight in the table, and the offset in it. */
typedef struct {
  long count, place[MOST], offset[MOST], apart[MOST];
} Parts;

/* A layer, and the positions of its weights in the table of a call. */
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

/* Read by the forward and the backward step of a call. */
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

/* The floats that the backward step needs for a layer are contiguous; returns where those of the next layer begin. */
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
  const long columns = layer->inputs, begin = share_of(id, team, columns, V), end = share_of(id + 1, team, columns, V);
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
    many = end - i >= 4 && rows > 1 ? 4 : 1; /* with one row there is nothing to share, and a single stream is fastest */
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
    multiply(from, rows, &weight, units, to, 0, share_of(id, team, width, V), share_of(id + 1, team, width, V), 1,
             call->scratch + (1 + id) * call->scratch_size);
  }
  const long begin = share_of(id, team, units, 4), end = share_of(id + 1, team, units, 4); /* no tile is divided */
  const long first = share_of(id, team, own, 4), past = share_of(id + 1, team, own, 4);
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
