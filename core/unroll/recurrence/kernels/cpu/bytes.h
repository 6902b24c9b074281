/* 8-bit weights, for inference: a column is a scale times whole numbers from -127 to 127. Operands and sums stay float32,
 * so that only the weights are rounded. */
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

/* product_fn for 8-bit weights; the scales of all columns follow the panels. */
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
