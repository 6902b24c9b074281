/* Products of bfloat16 by AMX, the matrix unit of Intel's processors since Sapphire Rapids: one instruction multiplies
 * 16 rows of 32 numbers with 32 rows of 16 columns. Packed matrices are stored as it reads them: pairs of rows. */
#if defined(__AMX_BF16__) && defined(__AVX512BF16__) && defined(__linux__)
#include <sys/syscall.h>
#include <unistd.h>

#define DEEP 32 /* numbers of a row of a tile: the depth of a product is zero-padded to a multiple of this */
#define TALL 16 /* rows of a tile */

/* The system enables the unit's registers for processes that ask; if it refuses, AVX-512 is used. */
int tiles;
__attribute__((constructor)) static void ask_for_tiles(void) {
  const int require = 0x1023, tile_data = 18; /* ARCH_REQ_XCOMP_PERM, XFEATURE_XTILEDATA */
  tiles = !syscall(SYS_arch_prctl, require, tile_data);
}

/* Registers 0 to 5 hold sums, 6 rows of a, 7 a piece of the packed matrix. */
static void shape_tiles(long rows) {
  struct { uint8_t palette, first, unused[14]; uint16_t bytes[16]; uint8_t rows[16]; } shape = {.palette = 1};
  for (int i = 0; i < 8; i++) {
    shape.bytes[i] = 4 * V;
    shape.rows[i] = i == 7 ? TALL : rows;
  }
  _tile_loadconfig(&shape);
}

/* sums[TALL, PANEL] = a times n vectors of columns of a panel, for the rows that the tiles are shaped for; `step`: from
 * one piece of a of DEEP numbers to the next, which differs from DEEP where a is packed. */
static void one_tile(const bf16 *a, long lda, long step, const bf16 *w, long depth, long n, float *sums) {
  _tile_zero(0); _tile_zero(1); _tile_zero(2);
  for (long k = 0; k < depth; k += DEEP, a += step, w += DEEP * V * n) {
    _tile_loadd(6, a, 2 * lda);
    _tile_loadd(7, w, 4 * V * n); _tile_dpbf16ps(0, 6, 7);
    if (n > 1) { _tile_loadd(7, w + 2 * V, 4 * V * n); _tile_dpbf16ps(1, 6, 7); }
    if (n > 2) { _tile_loadd(7, w + 4 * V, 4 * V * n); _tile_dpbf16ps(2, 6, 7); }
  }
  _tile_stored(0, sums, 4 * PANEL);
  if (n > 1) _tile_stored(1, sums + V, 4 * PANEL);
  if (n > 2) _tile_stored(2, sums + 2 * V, 4 * PANEL);
}
/* The same for 2 * TALL rows, `below` numbers apart: each piece of the panel is read once for both. */
static void two_tiles(const bf16 *a, long below, long lda, long step, const bf16 *w, long depth, long n, float *sums) {
  _tile_zero(0); _tile_zero(1); _tile_zero(2); _tile_zero(3); _tile_zero(4); _tile_zero(5);
  for (long k = 0; k < depth; k += DEEP, a += step, w += DEEP * V * n) {
    _tile_loadd(7, w, 4 * V * n);
    _tile_loadd(6, a, 2 * lda); _tile_dpbf16ps(0, 6, 7);
    _tile_loadd(6, a + below, 2 * lda); _tile_dpbf16ps(3, 6, 7);
    if (n > 1) {
      _tile_loadd(7, w + 2 * V, 4 * V * n); _tile_dpbf16ps(4, 6, 7);
      _tile_loadd(6, a, 2 * lda); _tile_dpbf16ps(1, 6, 7);
    }
    if (n > 2) {
      _tile_loadd(7, w + 4 * V, 4 * V * n); _tile_dpbf16ps(2, 6, 7);
      _tile_loadd(6, a + below, 2 * lda); _tile_dpbf16ps(5, 6, 7);
    }
  }
  _tile_stored(0, sums, 4 * PANEL); _tile_stored(3, sums + TALL * PANEL, 4 * PANEL);
  if (n > 1) { _tile_stored(1, sums + V, 4 * PANEL); _tile_stored(4, sums + TALL * PANEL + V, 4 * PANEL); }
  if (n > 2) { _tile_stored(2, sums + 2 * V, 4 * PANEL); _tile_stored(5, sums + TALL * PANEL + 2 * V, 4 * PANEL); }
}
static void some_tiles(const bf16 *a, long below, long lda, long step, long rows, const bf16 *w, long depth, long n, float *sums) {
  if (rows > TALL) two_tiles(a, below, lda, step, w, depth, n, sums);
  else one_tile(a, lda, step, w, depth, n, sums);
}
/* How many of the remaining rows are multiplied at a time: two full tiles, or one. */
static long tile_rows(long left) { return left >= 2 * TALL ? 2 * TALL : left < TALL ? left : TALL; }
#else
#define DEEP 2
enum { tiles = 0 };
#endif

static inline long padded(long depth) { return (depth + DEEP - 1) / DEEP * DEEP; }
