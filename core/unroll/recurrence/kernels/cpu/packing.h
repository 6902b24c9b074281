/* Packs a matrix into the panels that a product reads, in float32 and in pairs of bfloat16. */
/* How many floats (or bf16 numbers) `pack` writes. */
long packed_size(long depth, long columns, int as_bf16) {
  return vectors(columns) * V * (as_bf16 ? padded(depth) : depth);
}

#if defined(__AVX512F__)
/* Transposes 16 rows of 16 words. */
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

/* A panel of contiguous columns, in squares of 16 columns and 16 words; a word is a float or a pair. */
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
/* The same for values that are already bfloat16. */
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

/* Packs the matrix whose element (k, j) is at w[k * by_depth + j * by_column]. */
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
