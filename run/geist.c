// geist.c: a large language model is two files, the parameters and this one: cc -O2 geist.c -o g && ./g model.gguf "Once upon a time"
//
// It reads a GGUF file (architecture llama; F32, F16, BF16, Q8_0, Q4_0 and Q6_K tensors; SentencePiece or byte-level BPE) and continues
// the text: greedily or, with --seed, by chance. It needs the C library alone, not even libm, and prints what `geist run` prints, on every
// processor and for ever: each operation is rounded once, in the one order that docs/numerics.md of the Geist project states, and nothing
// is left to the compiler. No number of the file is used before it is checked.
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>
#ifdef __FAST_MATH__
#error "results would change: build with -O2, not with -Ofast or -ffast-math"
#elif defined __clang__  // a product and a sum are fused where it says fma32, and nowhere else
#pragma STDC FP_CONTRACT OFF
#else
#pragma GCC optimize("fp-contract=off")
#endif
_Static_assert(__FLT_EVAL_METHOD__ == 0 && __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "on 32-bit x86: -msse2 -mfpmath=sse");
typedef uint64_t u64; typedef uint32_t u32;
#define EACH(i, count) for (u64 i = 0; i < (u64)(count); ++i)
// ---- Arithmetic ----
static u64 bits_of(double x) { u64 u; memcpy(&u, &x, 8); return u; } static double double_of(u64 u) { double x; memcpy(&x, &u, 8); return x; }
static float float_of(u32 u) { float x; memcpy(&x, &u, 4); return x; }
static double power_of_two(int64_t n) { return double_of((u64)(n + 1023) << 52); } static double nearest(double x) { return (x + 0x1.8p52) - 0x1.8p52; }
// a * b + c, rounded once. In double the product is exact, and the sum is rounded to odd: then rounding it to float is right.
static inline float fma32(float a, float b, float c) {
#ifdef __FP_FAST_FMAF
  return __builtin_fmaf(a, b, c);
#endif
  const double p = (double)a * b, s = p + c, t = s - p, lost = (p - (s - t)) + (c - t);
  if (lost == 0 || lost != lost || (bits_of(s) & 1)) return (float)s;
  return (float)double_of(bits_of(s) + ((lost > 0) == (s > 0) ? 1 : UINT64_MAX));
}
typedef struct { double hi, lo; } Pair;  // a sum: hi is rounded, lo is what rounding lost (Knuth, Dekker)
static Pair two_sum(double a, double b) { const double s = a + b, t = s - a; return (Pair){s, (a - (s - t)) + (b - t)}; }
static Pair two_product(double a, double b) {
  const double as = a * 0x1.0000002p27, ah = as - (as - a), al = a - ah, p = a * b;
  const double bs = b * 0x1.0000002p27, bh = bs - (bs - b), bl = b - bh; return (Pair){p, ((ah * bh - p) + ah * bl + al * bh) + al * bl};
}
static const double ln2_hi = 0x1.62e42fefa3800p-1, ln2_lo = 0x1.ef35793c76730p-45;
static double exp64(double hi, double lo) {  // of hi + lo, by Taylor's series to r^14 / 14!
  if (hi > 709.8 || hi < -745.2) return hi < 0 ? 0.0 : double_of(0x7ff0000000000000u);
  const double n = nearest(hi * 0x1.71547652b82fep+0), r = ((hi - n * ln2_hi) - n * ln2_lo) + lo;
  double factorial = 87178291200, p = 1 / factorial; for (int k = 14; k > 2; --k) factorial /= k, p = p * r + 1 / factorial;
  return (1.0 + (r + r * r * p)) * power_of_two((int64_t)n / 2) * power_of_two((int64_t)n - (int64_t)n / 2);
}
static double pow64(double x, double y) {  // exp(y log x), x > 0
  const double mantissa = double_of((bits_of(x) & 0xfffffffffffffu) | 0x3ff0000000000000u);
  const int above = mantissa > 0x1.6a09e667f3bcdp+0;  // the root of 2
  const double n = (double)((int64_t)(bits_of(x) >> 52) - 1023 + above), f = mantissa * (above ? 0.5 : 1) - 1.0;
  const Pair d = two_sum(2.0, f), q = two_product(f / d.hi, d.hi);
  const double s = f / d.hi, s_lo = (((f - q.hi) - q.lo) - s * d.lo) / d.hi, z = s * s;
  double p = 1.0 / 25; for (int k = 23; k > 1; k -= 2) p = p * z + 1.0 / k;  // log(1 + f) = 2 (s + s^3/3 + ...), s = f / (2 + f)
  const Pair most = two_sum(n * ln2_hi, 2.0 * s);
  const Pair log = two_sum(most.hi, 2.0 * (s * z * p) + (2.0 * s_lo + (n * ln2_lo + most.lo))), power = two_product(y, log.hi);
  return y == 0 || x == 1 ? 1.0 : exp64(power.hi, power.lo + y * log.lo);
}
// Right to the last bit: no float's root is so near the middle of two floats that the error of pow64 matters.
static float sqrt32(float x) { return (float)pow64((double)x, 0.5); }
static double taylor(double z, double factorial, int k, int last) {  // -1/k!, +1/(k-2)!, ... +-1/last!, by Horner
  double sign = -1, p = -1 / factorial; for (; k > last; k -= 2) factorial /= k * (k - 1), sign = -sign, p = p * z + sign / factorial;
  return p;
}
static double sin64(double x, int64_t quadrant) {  // |x| <= 2^30; from quadrant 1 on it is the cosine
  const double n = nearest(x * 0x1.45f306dc9c883p-1); const Pair sum = two_sum((x - n * 0x1.921fb4p+0) - n * 0x1.4442dp-24, -(n * 0x1.84698p-48));
  const Pair r = two_sum(sum.hi, sum.lo - n * 0x1.3198a2e037073p-69); const double z = r.hi * r.hi, half = 0.5 * z, most = 1.0 - half;
  const double cosine = most + (((1.0 - most) - half) + (z * z * taylor(z, 6402373705728000, 18, 4) - r.hi * r.lo));
  const double sine = r.hi + (r.hi * z * taylor(z, 121645100408832000, 19, 3) + r.lo * (1.0 - half)); quadrant += (int64_t)n & 3;
  return (quadrant & 2 ? -1 : 1) * (quadrant & 1 ? cosine : sine);
}
static float exp32(float x) {
  if (!(x >= -0x1.5d589ep+6f && x <= 0x1.62e42ep+6f)) return x < 0 ? 0.0f : x > 0 ? float_of(0x7f800000) : x;
  const float rounded = fma32(x, 0x1.715476p+0f, 0x1.8p23f), n = rounded - 0x1.8p23f;
  const float r = fma32(n, 0x1.05c610p-29f, fma32(n, -0x1.62e430p-1f, x));
  const float p = fma32(fma32(fma32(0x1.6d10fcp-10f, r, 0x1.120b62p-7f), r, 0x1.55551ap-5f), r, 0x1.5554dep-3f);
  const float y = fma32(fma32(fma32(p, r, 0.5f), r, 1.0f), r, 1.0f);
  return y * (float)power_of_two((int64_t)n / 2) * (float)power_of_two((int64_t)n - (int64_t)n / 2);
}
static float tree16(float* v) { for (u64 n = 8; n; n /= 2) EACH(j, n) v[j] += v[j + n]; return v[0]; }
// ---- The parameters ----
typedef struct { const char* s; u64 size; } Text; typedef struct { const uint8_t *at, *end; } Cursor;
typedef struct { u64 type, count; Cursor data; } Value; enum { I32 = 5, REAL = 6, STRING = 8, ARRAY = 9, TYPES = 13 };  // `count` items
static const char* path; static u64 key_count, tensor_count, layers, width, hidden, heads, kv_heads, head, pairs, context;
static Cursor key_list, tensor_list, tensor_data;
static void die(const char* what, const char* why) { fprintf(stderr, "geist: %s: %s %s\n", path, what, why), exit(1); }
static void check(int good) { if (!good) die("the file is damaged or cut short;", "download it again"); }
static void* resize(void* old, u64 count, u64 size) {  // new memory is zero
  void* const p = count < (u64)1 << 40 ? realloc(old, (count + 1) * size) : NULL;
  return !p ? die("not enough", "memory"), p : old ? p : memset(p, 0, (count + 1) * size);
}
static const uint8_t* take(Cursor* c, u64 size) { check(size <= (u64)(c->end - c->at)); return (c->at += size) - size; }
static u64 take_int(Cursor* c, u64 size) { u64 v = 0; memcpy(&v, take(c, size), size); return v; }
static Text take_text(Cursor* c) { const u64 n = take_int(c, 8); return (Text){(const char*)take(c, n), n}; }
static int same(Text a, const char* b) { return a.size == strlen(b) && !memcmp(a.s, b, a.size); }
static const uint8_t value_size[TYPES] = {1, 1, 2, 2, 4, 4, 4, 1, 0, 0, 8, 8, 8};
static char asked[66];  // what listed() was last asked for
static int listed(const char* list, Text t) { return snprintf(asked, 64, " %.*s ", t.size < 60 ? (int)t.size : 60, t.s) > 2 && strstr(list, asked); }
// The keys of an architecture that change nothing here, or are read. Any other might change the tokens.
static const char known_keys[] = " block_count context_length embedding_length feed_forward_length expert_count expert_used_count vocab_size "
    "tensor_data_layout attention.head_count attention.head_count_kv attention.key_length attention.value_length attention.sliding_window "
    "attention.layer_norm_rms_epsilon attention.scale rope.dimension_count rope.freq_base rope.scale_linear rope.scaling.type rope.scaling.factor "
    "rope.scaling.original_context_length ";
static Value find(const char* name) {  // the value of a key; for no key, type TYPES and the end of the list
  Cursor c = key_list;
  EACH(k, key_count) {
    const Text key = take_text(&c); Value v = {take_int(&c, 4), 1, c};
    if (v.type == ARRAY) v.type = take_int(&c, 4), v.count = take_int(&c, 8), v.data = c;
    check(v.type < TYPES && v.type != ARRAY && v.count <= (u64)(c.end - c.at)), take(&c, v.count * value_size[v.type]);
    EACH(i, v.type == STRING ? v.count : 0) take_text(&c);
    if (key.size > 6 && !memcmp(key.s, "llama.", 6) && !listed(known_keys, (Text){key.s + 6, key.size - 6}))
      die("only geist run knows what this key of the file asks for:", asked);
    if (same(key, name)) return v;
  }
  return (Value){TYPES, 0, c};
}
static double number(const char* name, double low, double high, double otherwise) {  // in [low, high]; `otherwise` if absent
  Value k = find(name); const u64 u = k.type < TYPES && k.count == 1 ? take_int(&k.data, value_size[k.type]) : 0;
  const double v = k.type == TYPES ? otherwise : k.type == REAL ? (double)float_of((u32)u) : k.type == 12 ? double_of(u) : (double)u;
  return v >= low && v <= high ? v : (die("missing, a list or out of range:", name), v);
}
static Text string(const char* name) { Value k = find(name); return k.type == STRING && k.count == 1 ? take_text(&k.data) : (Text){"", 0}; }
static void open_file(void) {
  const int fd = open(path, O_RDONLY); const off_t size = lseek(fd, 0, SEEK_END);
  const uint8_t* const bytes = size < 24 ? MAP_FAILED : mmap(NULL, (size_t)size, PROT_READ, MAP_PRIVATE, fd, 0);
  if (bytes == MAP_FAILED || memcmp(bytes, "GGUF", 4)) die("cannot be read, or is", "no GGUF file");
  Cursor c = {bytes + 4, bytes + size}; if ((take_int(&c, 4) & ~1u) != 2) die("the version of GGUF is", "neither 2 nor 3");
  tensor_count = take_int(&c, 8), key_count = take_int(&c, 8), key_list = c, c = tensor_list = find("").data;
  const u64 alignment = (u64)number("general.alignment", 8, 4096, 32);
  EACH(i, tensor_count) { const u64 dims = (take_text(&c), take_int(&c, 4)); check(dims - 1 < 4), take(&c, dims * 8 + 12); }
  take(&c, -(u64)(c.at - bytes) % alignment), tensor_data = c;
}
enum { F32 = 0, F16 = 1, Q4_0 = 2, Q8_0 = 8, Q6_K = 14, BF16 = 30 };
typedef struct { const uint8_t* data; u64 type, rows, cols, row_bytes, block, bytes; } Matrix;  // block: weights, of so many bytes
// The tensor `base` of a layer, of exactly this shape; rows 0 stands for any number of them.
static Matrix matrix(const char* base, u64 layer, u64 cols, u64 rows, int optional) {
  char name[64]; Cursor c = tensor_list, data = tensor_data; snprintf(name, sizeof name, base, (int)layer);
  EACH(i, tensor_count) {
    const Text key = take_text(&c); u64 dims[4] = {1, 1, 1, 1}, count = take_int(&c, 4); EACH(d, count) dims[d] = take_int(&c, 8);
    const u64 type = take_int(&c, 4), offset = take_int(&c, 8);
    if (key.size > 5 && !memcmp(key.s + key.size - 5, ".bias", 5)) die("models with biases are for", "geist run");
    if (!same(key, name)) continue;
    const u64 block = type == Q6_K ? 256 : type == Q4_0 || type == Q8_0 ? 32 : 1;
    const u64 bytes = block == 256 ? 210 : block == 32 ? type == Q4_0 ? 18 : 34 : type == F32 ? 4 : 2;
    Matrix m = {NULL, type, rows ? rows : dims[1] >> 24 ? 0 : dims[1], cols, 0, block, bytes};
    if (block == 1 && type > F16 && type != BF16) die("only geist run reads the type of the tensor", name);
    if (dims[0] != cols || dims[1] != m.rows || dims[2] != 1 || dims[3] != 1 || cols % block) die("misshapen:", name);
    m.row_bytes = cols / m.block * m.bytes, take(&data, offset), m.data = take(&data, m.rows * m.row_bytes); return m;
  }
  return optional ? (Matrix){0} : (die("missing:", name), (Matrix){0});
}
static float plain(u64 type, const uint8_t* p) {  // F32, F16 or BF16
  u32 u = 0; memcpy(&u, p, type == F32 ? 4 : 2);
  if (type != F16) return float_of(type == F32 ? u : u << 16);
  const u32 magnitude = u & 0x7fff, sign = (u & 0x8000) << 16;
  if (magnitude >= 0x7c00) return float_of(sign | (magnitude > 0x7c00 ? 0x7fc00000 : 0x7f800000) | magnitude << 13);
  return float_of(magnitude << 13) * (sign ? -0x1p112f : 0x1p112f);  // mends the exponent, exactly
}
// A block of quantised weights: codes, and a scale for each 32 of them, or each 16 in Q6_K.
static void unpack(u64 type, const uint8_t* p, int8_t* q, float* scale) {
  if (type == Q8_0) memcpy(q, p + 2, 32); else if (type == Q4_0) EACH(i, 32) q[i] = (int8_t)((p[2 + i % 16] >> i / 16 * 4 & 15) - 8);
  if (type != Q6_K) { *scale = plain(F16, p); return; }
  EACH(i, 16) scale[i] = plain(F16, p + 208) * (float)(int8_t)p[192 + i];
  EACH(i, 256) {
    const int low = p[i / 128 * 64 + i % 64] >> i % 128 / 64 * 4 & 15, high = p[128 + i / 128 * 32 + i % 32] >> i % 128 / 32 * 2 & 3;
    q[i] = (int8_t)((low | high << 4) - 32);
  }
}
static float* read_row(const Matrix* w, u64 row, float* out) {
  const uint8_t* p = w->data + row * w->row_bytes; int8_t q[256]; float scale[16];
  for (u64 i = 0; i < w->cols; i += w->block, p += w->bytes) {
    if (w->block == 1) { out[i] = plain(w->type, p); continue; }
    unpack(w->type, p, q, scale); EACH(j, w->block) out[i + j] = scale[w->type == Q6_K ? j / 16 : 0] * (float)q[j];
  }
  return out;
}
static float* vector(const char* name, u64 layer, int optional) {  // weights of a norm; optional: divisors of RoPE
  const Matrix m = matrix(name, layer, optional ? pairs : width, 1, optional);
  return m.data ? read_row(&m, 0, resize(NULL, m.cols, 4)) : NULL;
}
// y = W x. Plain weights: 16 lanes and a tree. Quantised: x in 8 bits; exact integer sums of the weights that share a scale, in order.
static void multiply(const Matrix* w, const float* x, float* y) {
  static int8_t* codes; static float* scales; const u64 group = w->type == Q6_K ? 16 : 32;
  codes = resize(codes, w->cols, 1), scales = resize(scales, w->cols / 32, 4);
  EACH(b, w->block > 1 ? w->cols / 32 : 0) {
    const float* const v = x + 32 * b; float top = 0; EACH(i, 32) top = v[i] > top ? v[i] : -v[i] > top ? -v[i] : top;
    const float inverse = top > 0 ? 127.0f / top : 0.0f; scales[b] = top / 127.0f;
    EACH(i, 32) {
      const float a = v[i] * inverse, low = a > -127.0f ? a : -127.0f, high = low < 127.0f ? low : 127.0f;
      codes[32 * b + i] = (int8_t)((high + 12582912.0f) - 12582912.0f);  // 1.5 * 2^23: rounds to nearest even
    }
  }
  EACH(r, w->rows) {
    const uint8_t* p = w->data + r * w->row_bytes; float lane[16] = {0}, scale[16]; int8_t q[256];
    for (u64 k = 0; k < w->cols; k += w->block, p += w->bytes) {
      if (w->block == 1) { lane[k % 16] = fma32(plain(w->type, p), x[k], lane[k % 16]); continue; }
      unpack(w->type, p, q, scale);
      EACH(g, w->block / group) {
        int sum = 0; EACH(i, group) sum += q[g * group + i] * codes[k + g * group + i];
        lane[0] = fma32((float)sum, scale[g] * scales[(k + g * group) / 32], lane[0]);
      }
    }
    y[r] = w->block == 1 ? tree16(lane) : lane[0];
  }
}
// ---- The model ----
typedef struct { float *attn_norm, *ffn_norm; Matrix q, k, v, o, gate, up, down; } Layer;
static float epsilon, attention_scale, *output_norm, **pages;  // a page: [layer][key, value][32 tokens][kv head][head]
static double* frequencies; static Layer* model; static Matrix embedding, output;
static void load_model(void) {
#define SIZE(name, low, high, otherwise) (u64)number("llama." name, low, (double)(high), (double)(otherwise))
  const Text scaling = string("llama.rope.scaling.type");
  if (!same(string("general.architecture"), "llama") || SIZE("expert_count", 0, 4096, 0) > 0 ||
      number("split.count", 0, 65535, 1) > 1 || (scaling.size && !same(scaling, "linear") && !same(scaling, "none")))
    die("other architectures, experts, split files and YaRN are for", "geist run");
  layers = SIZE("block_count", 1, 512, 0), context = SIZE("context_length", 1, 1 << 30, 0);
  width = SIZE("embedding_length", 1, 1 << 20, 0), hidden = SIZE("feed_forward_length", 1, 1 << 20, 0);
  heads = SIZE("attention.head_count", 1, 4096, 0), kv_heads = SIZE("attention.head_count_kv", 1, heads, heads);
  head = SIZE("attention.key_length", 1, 8192, width / heads), pairs = SIZE("rope.dimension_count", 0, head, head) / 2;
  check(heads % kv_heads == 0 && SIZE("attention.value_length", 1, 8192, head) == head);
  epsilon = (float)number("llama.attention.layer_norm_rms_epsilon", 1e-30, 1, 0);
  const double scale = number("llama.attention.scale", -1e9, 1e9, 0), base = number("llama.rope.freq_base", 1.001, 1e12, 1e4);
  attention_scale = (float)(scale != 0 ? scale : 1.0 / pow64((double)head, 0.5));
  double factor = number("llama.rope.scaling.factor", 0, 1e6, number("llama.rope.scale_linear", 0, 1e6, 0));
  factor = same(scaling, "none") || factor == 0 ? 1 : factor < 0.01 ? 0.01 : factor, matrix("output.bias", 0, width, 1, 1);
  const float* const divisors = pairs ? vector("rope_freqs.weight", 0, 1) : NULL; frequencies = resize(NULL, pairs, 8);
  EACH(i, divisors ? pairs : 0) check(divisors[i] > 1e-9f && divisors[i] < 1e9f);
  EACH(i, pairs) frequencies[i] = pow64(base, -2.0 * (double)i / (double)(2 * pairs)) / (divisors ? (double)divisors[i] : 1) / factor;
  embedding = matrix("token_embd.weight", 0, width, 0, 0), check(SIZE("vocab_size", 1, embedding.rows, 1) > 0), output_norm = vector("output_norm.weight", 0, 0);
  output = matrix("output.weight", 0, width, embedding.rows, 1), model = resize(NULL, layers, sizeof(Layer));
  if (tensor_count != 2 + !!output.data + !!divisors + 9 * layers) die("not all of its tensors are for the run file, see", "geist info");
  EACH(i, layers) model[i] = (Layer){vector("blk.%d.attn_norm.weight", i, 0), vector("blk.%d.ffn_norm.weight", i, 0),
      matrix("blk.%d.attn_q.weight", i, width, heads * head, 0), matrix("blk.%d.attn_k.weight", i, width, kv_heads * head, 0),
      matrix("blk.%d.attn_v.weight", i, width, kv_heads * head, 0), matrix("blk.%d.attn_output.weight", i, heads * head, width, 0),
      matrix("blk.%d.ffn_gate.weight", i, width, hidden, 0), matrix("blk.%d.ffn_up.weight", i, width, hidden, 0),
      matrix("blk.%d.ffn_down.weight", i, hidden, width, 0)}; output = output.data ? output : embedding;
}
static void norm(const float* x, const float* weight, float* out) {
  float lane[16] = {0}; EACH(i, width) lane[i % 16] = fma32(x[i], x[i], lane[i % 16]);
  const float r = 1.0f / sqrt32(tree16(lane) / (float)width + epsilon); EACH(i, width) out[i] = x[i] * r * weight[i];
}
static void rotate(float* x, u64 count, const float* cosine, const float* sine) {
  EACH(h, count) EACH(i, pairs) {
    float *const a = x + h * head + 2 * i, *const b = a + 1, old = *a;
    *a = fma32(old, cosine[i], -(*b * sine[i])), *b = fma32(old, sine[i], *b * cosine[i]);
  }
}
// One query head over the positions up to `last`, page by page, with a running maximum of the scores.
static void attend(const float* q, u64 layer, u64 kv_head, u64 last, float* out) {
  float top = float_of(0xff800000), sums[16] = {0}, e[32]; const u64 stride = kv_heads * head; memset(out, 0, head * 4);
  for (u64 first = 0; first <= last; first += 32) {
    const u64 count = last - first < 32 ? last - first + 1 : 32;
    const float *const k = pages[first / 32] + layer * 64 * stride + kv_head * head, *const v = k + 32 * stride, before = top;
    memset(e, 0, sizeof e); EACH(j, count) EACH(d, head) e[j] = fma32(q[d], k[j * stride + d], e[j]);
    EACH(j, count) e[j] *= attention_scale, top = top > e[j] ? top : e[j];
    EACH(j, 16) sums[j] *= exp32(before - top);
    EACH(d, head) out[d] *= exp32(before - top);
    EACH(j, count) sums[j % 16] += e[j] = exp32(e[j] - top);
    EACH(j, count) EACH(d, head) out[d] = fma32(e[j], v[j * stride + d], out[d]);
  }
  const float inverse = 1.0f / tree16(sums); EACH(d, head) out[d] *= inverse;
}
// Computes the token at position `pos`; returns the logits of the next one, or NULL if they are not wanted.
static const float* forward(int token, u64 pos, int wanted) {
  static float* scratch; const u64 stride = kv_heads * head;
  if (!scratch) scratch = resize(NULL, 2 * width + 2 * heads * head + 2 * hidden + 2 * pairs + output.rows, 4);
  float *const x = scratch, *const h = x + width, *const q = h + width, *const a = q + heads * head, *const up = a + heads * head;
  float *const gate = up + hidden, *const cosine = gate + hidden, *const sine = cosine + pairs, *const logits = sine + pairs;
  if (pos % 32 == 0) pages = resize(pages, pos / 32 + 1, sizeof *pages), pages[pos / 32] = resize(NULL, layers * 64 * stride, 4);
  EACH(i, pairs) {
    const double f = frequencies[i] * (double)pos, angle = f < 0x1p30 ? f : 0x1p30; cosine[i] = (float)sin64(angle, 1), sine[i] = (float)sin64(angle, 0);
  }
  read_row(&embedding, (u64)token, x);
  EACH(l, layers) {
    const Layer* const w = model + l; float *const k = pages[pos / 32] + (l * 64 + pos % 32) * stride, *const v = k + 32 * stride;
    norm(x, w->attn_norm, h), multiply(&w->q, h, q), multiply(&w->k, h, k), multiply(&w->v, h, v);
    rotate(q, heads, cosine, sine), rotate(k, kv_heads, cosine, sine);
    EACH(i, heads) attend(q + i * head, l, i / (heads / kv_heads), pos, a + i * head);
    multiply(&w->o, a, h); EACH(i, width) x[i] += h[i];
    norm(x, w->ffn_norm, h), multiply(&w->gate, h, gate), multiply(&w->up, h, up);
    EACH(i, hidden) gate[i] = gate[i] * (1.0f / (1.0f + exp32(-gate[i]))) * up[i];
    multiply(&w->down, gate, h); EACH(i, width) x[i] += h[i];
  }
  return wanted ? norm(x, output_norm, h), multiply(&output, h, logits), logits : NULL;
}
// ---- The text ----
// The letters and numbers of Unicode 15, in order: the gap before a run of them, then twice its length less 1, plus 1 for
// numbers. Digits of base 31 from '@' on, without the backslash; all but the last digit of a value are 31 higher.
static const char runs[] = "aQSGaSFaSaP@GCA@CA@@AEAaMAa^A}ODVNHG@A@dEHABBFA@F@ADA@AaGAeIAh]HjTAbLB@FbRbIaUDFaNbVUSDBAfJA@OBGB@S@DB@P@Aa[^eUK@NS@bBIBD@EaKD@I@C@WaQGTEaOAJQbTa[cMC@R@GRDSA_DNBBBaKALA@CFC@P@MBADDS@BBKB@HJDBBaKALABABABa@FA@GSBDPPADAaKALABAHC@R@OBDSI@KNBBBaKALABAHC@_BADDSA@@KK@AJCDAFCBA@ABCBCDCVV@UYRNADAaMA_C@ZDB@BBDSHMA@DNADAaMARAHC@a@BABDSABQPADAbRB@P@EDAM@DDaFAJEaCCaOAPA@BLa@SQcAABLLISaHBA@AHAaOA@ARABI@BHA@ISBFaA@a@aHLNAbH[HcVbVT@@SFJDFC@CBGDDXL@ASFbLA@E@BbVAuMAFBLA@AFBbRAFBbBAFBLA@AFB]AcSAFBdHNaHC_PeOBJCah^BaAAaSEdXCE@NGaCMaENaCNXADOcIaD@D@CSFSVSFeUGHBbDA@EdNJa^aHS@a[BHKbXDaSFUaFaMIcKaLSFSM@c@b_QNCSaJa[MB@S@bXZbH]SCD@S@bHBPGbVBDaJFAJABC@ElJbBq[BJBbLBJBNA@A@A@Aa^BcKALA@CDALCFBJDXEDALcVA@@BKE@@SFXcH@D@BRA@CHF@A@A@AFATBFEHD@AcH@B@IwMcZbPaLtJa]aePnVFFCBIABbLA@E@BcQG@PaMILALALALALALALALbR@oDB@AYQGHBE@BDeOFDAeWAFEbVAf@CGJb@aQ_aAS_OA^aASaH^jJmvGbBaocMbEb]BqIC_@S@BTb_Pa^BdN@SaHPBfRBdBEBA@AHX_ADAFAaMMKJcINcE]SXJC@ABAS@aWJaMYaYGb_]@@SFHAR@S@HAbRWDANDSFaMC@CcEA@CBBHB@A@XDBTGDLJBJBJILALAbVAZFgKMSFwgVLaMDcChxTw"
    "QBfXaGLLHE@ARAXAHA@ABABAf]aBwKRdBBcMaIVcWHAhTSSGaSFaSKeUCJBJBJBDaDVAaSAaEABA]BZaCg[Lb[LcTQCg[aYCcCPaVDb@@GIaG@A@N@AEbLJa[BbHDNAIaKjDBSFbHDbHDbPHcILTA]ALABATA]ALABbEt@IaKJNXJAbTAPbGJB@AbXABC@BaMBO@aMBM@a^HQaQaEABEI@aK@KDaSbHcQDC@B@a@Bb^@@OFADAaYJQWaY@CAaY@EaANAaWFIPcMJaKBO@aEEO@aCWMbRdTaXcGMcGGK@bHLSiOa_AbTFBbPaY@S@@HaKKG[aCaOaI@MTaMLcKZa]ABB@MbZaAaQGSIbHOSD@B@HbFC@LcANFKS@@A@DaHKaCAaQSBbALA@AFA]ARGb_QSKNBBBaKALABAHC@R@LHeCcKRFESED_cATBA@HSeKb_aJFaEcAT@KSaGbVM@GSaWaUUWDLe_bXcWdB@aFLNB@BNABAaOO@A@NSbHNBbNP@A@]@JbPG@U@Kb]S@RdThOPAbJQ@OaZEa[cSLABAbLU@ISFJABAb@N@GSj@aEO@AXAbD]SbX@OaJaLa|McIgDQlRbwAfFObgCQJdeZafQh~OaeTGa^ASFeAASFa[RcAPFLSAMAaIEaEvFdB@aNcLdXE@bDXbBBA@]lwYHbqYaKPiiGFALABArVO@^DB@NFHyOblNfZEXCPGRe{]aHLaHcOaRdKeMAdPABB@BBBFAVA@ALAdDAFBNALAaWAFAHA@CLAu[BaQAaQAa^AaQAa^AaQAa^AaQAa^AaQANBcFazYa^FJhMc^dVbZJLBSD@jKa[RbXDSoEaWDSw^LAFABA]AlTBQaQdJG@DSyPcXAEAGbNb[A^fHFAaUABA@B@ARAFA@A@F@D@A@A@ADABA@B@A@A@A@A@ABA@BFALAFAFA@ARAaAEDAHAaArVYb{]SabGbz|BaAhs^FnHBk~UNoqBcgCac]aqRjhREhvL";
enum { LETTER = 1, NUMBER = 2, SPACE = 4, OTHER = 8 }; static int digits;  // digits: of a word, at most; 0 for the words of gpt-2
static int class_of(u32 c) {
  if (c == 32 || c - 9 < 5 || c == 133 || c == 160 || c == 5760 || c - 8192 < 11 || c - 8232 < 2 || c == 8239 || c == 8287 || c == 12288) return SPACE;
  u64 at = 0, value = 0, odd = 0;
  for (const char* s = runs; *s; ++s) {
    const u64 digit = (u64)(*s - '@' - (*s > '\\')); value = value * 31 + digit % 31;
    if (digit >= 31) continue;
    if (odd ^= 1, !odd && c < at + value / 2 + 1) return c < at ? OTHER : value % 2 ? NUMBER : LETTER;
    at += odd ? value : value / 2 + 1, value = 0;
  }
  return OTHER;
}
// The class of the character at i, 0 at the end; *next is set behind it. A byte that is not UTF-8 counts as one.
static int class_at(Text t, u64 i, u64* next) {
  const uint8_t* const s = (const uint8_t*)t.s + i;
  if (*next = i + (i < t.size), i >= t.size) return 0;
  const u64 n = s[0] < 0x80 ? 1 : s[0] < 0xC2 ? 9 : s[0] < 0xE0 ? 2 : s[0] < 0xF0 ? 3 : s[0] < 0xF5 ? 4 : 9;
  u32 c = n == 1 ? s[0] : s[0] & (0x7Fu >> n % 8);
  for (u64 k = 1; k < n; c = c << 6 | (s[k++] & 63)) if (n == 9 || i + k >= t.size || s[k] >> 6 != 2) return OTHER;
  return (n == 3 && (c < 0x800 || c >> 11 == 27)) || (n == 4 && (c < 0x10000 || c > 0x10FFFF)) ? OTHER : (*next = i + n, class_of(c));
}
static u64 run(Text t, u64 i, int class, int limit) { for (u64 next; limit-- && class_at(t, i, &next) == class; i = next) {} return i; }
static int newline_at(Text t, u64 i) { return i < t.size && (t.s[i] == '\n' || t.s[i] == '\r'); }
static u64 word_end(Text t, u64 i) {  // the end of what the regular expression of llama 3, qwen 2 or gpt-2 matches at i
  u64 next, after, end = i, last = i, behind = i, start = i + (t.s[i] == ' ');
  const int class = class_at(t, i, &next), word = class_at(t, start, &after), fold = digits ? 32 : 0;
  const char a = (char)(i + 1 < t.size ? t.s[i + 1] | fold : 0), b = (char)(i + 2 < t.size ? t.s[i + 2] | fold : 0);
  if (t.s[i] == '\'' && (a == 's' || a == 't' || a == 'm' || a == 'd')) return i + 2;
  if (t.s[i] == '\'' && ((b == 'e' && (a == 'r' || a == 'v')) || (a == 'l' && b == 'l'))) return i + 3;
  if (digits && class <= NUMBER) return run(t, i, class, class == LETTER ? -1 : digits);
  if (digits && !newline_at(t, i) && class_at(t, next, &after) == LETTER) return run(t, next, LETTER, -1);
  if (!digits && word && word <= NUMBER) return run(t, start, word, -1);
  if (word == OTHER) { for (end = run(t, start, word, -1); digits && newline_at(t, end); ++end) {} return end; }
  for (; class_at(t, end, &next) == SPACE; end = next) last = end, behind = newline_at(t, end) ? next : behind;
  return digits && behind > i ? behind : last > i && end < t.size ? last : end;  // spaces, but for one before a word
}
// Strings to numbers. A merge of BPE is the whole string and the size of its left part; tokens have part 0.
typedef struct { Text key; u64 part, value; } Entry; typedef struct { Entry* entries; u64 mask; } Map;  // value: the number plus 1; 0: none
static Map make_map(u64 n) { u64 size = 4; while (size < 2 * n) size *= 2; return (Map){resize(NULL, size, sizeof(Entry)), size - 1}; }
static int find_or_put(Map m, Text key, u64 part, u64 value) {  // value 0: only looks
  Entry* e; u64 h = 0xcbf29ce484222325u ^ part; EACH(i, key.size) h = (h ^ (uint8_t)key.s[i]) * 0x100000001b3u;
  for (; (e = m.entries + (h & m.mask))->value; ++h)
    if (e->part == part && e->key.size == key.size && !memcmp(e->key.s, key.s, key.size)) return (int)e->value - 1;
  if (value) *e = (Entry){key, part, value};
  return -1;
}
enum { NORMAL = 1, UNKNOWN, CONTROL, USER, UNUSED, BYTE }; typedef struct { Text text, bytes; double score; int type, ends; } Token;
static Token* tokens; static Map vocabulary, merges; static u64 token_count, id_count;
static int *ids, unk, spm, lone_numbers, whole_words, byte_token[256]; static int find_token(Text t) { return find_or_put(vocabulary, t, 0, 0); }
static void add(int id) { if (id >= 0) ids = resize(ids, id_count + 1, sizeof(int)), ids[id_count++] = id; }
static void encode_word(Text w) {
  const int whole = whole_words ? find_token(w) : -1;
  if (whole >= 0 && tokens[whole].type == NORMAL) { add(whole); return; }
  u64 n = 0, *const cut = resize(NULL, w.size + 1, 8);  // where symbols begin: at bytes, or at characters for SPM
  for (u64 i = 0; i < w.size;) {
    const uint8_t lead = spm ? (uint8_t)w.s[i] : 0; cut[n++] = i++;
    for (int want = lead < 0xC0 ? 1 : lead < 0xE0 ? 2 : lead < 0xF0 ? 3 : 4; --want && i < w.size && w.s[i] != ' ';) ++i;
  }
  for (cut[n] = w.size;;) {  // join the best pair, again and again
    double best = 1e300; u64 at = 0;
    for (u64 i = 0; i + 1 < n; ++i) {
      const int found = find_or_put(spm ? vocabulary : merges, (Text){w.s + cut[i], cut[i + 2] - cut[i]}, spm ? 0 : cut[i + 1] - cut[i], 0);
      const double rank = found < 0 ? 1e300 : spm ? -tokens[found].score : found;
      if (rank < best) best = rank, at = i;
    }
    if (best == 1e300) break; else memmove(cut + at + 1, cut + at + 2, (n-- - at - 1) * 8);
  }
  EACH(i, n) {
    const uint8_t* const s = (const uint8_t*)w.s + cut[i];
    const int id = find_token((Text){w.s + cut[i], cut[i + 1] - cut[i]}), spelled = !spm || byte_token[*s] >= 0;
    if (id >= 0 || !spelled) add(id >= 0 ? id : unk);  // what is no token is spelled in bytes
    else EACH(k, cut[i + 1] - cut[i]) add(byte_token[s[k]] >= 0 ? byte_token[s[k]] : unk);
  }
  free(cut);
}
// The tokens of a text. Special ones go first, the longest at each place; with `raw` they are the user-defined ones alone.
static void encode(Text t, int raw, u64 prefix) {
  for (u64 i = 0, from = 0, spaced = prefix, next; i <= t.size; ++i) {
    int special = -1;
    EACH(k, i < t.size ? token_count : 0) {
      const Token* const s = tokens + k;
      if ((s->type == USER || (!raw && (s->type == CONTROL || s->type == UNKNOWN))) && s->text.size <= t.size - i &&
          !memcmp(s->text.s, t.s + i, s->text.size) && (special < 0 || s->text.size > tokens[special].text.size)) special = (int)k;
    }
    if (special < 0 && i < t.size) continue;
    char* const copy = resize(NULL, i - from + 1, 1); copy[0] = ' ', memcpy(copy + spaced, t.s + from, i - from);
    const Text part = {copy, i > from ? i - from + spaced : 0};
    for (u64 at = 0, end; at < part.size; at = end) {
      Text piece = part;  // smollm: a digit is a word, before all else
      if (lone_numbers) for (piece.size = at; class_at(part, piece.size, &next) & ~NUMBER; piece.size = next) {}
      end = spm ? part.size : piece.size == at ? run(part, at, NUMBER, 1) : word_end(piece, at); encode_word((Text){copy + at, end - at});
    }
    free(copy), add(special), spaced = special >= 0 ? prefix : 0;
    if (special >= 0) from = i + tokens[special].text.size, i = from - 1;
  }
}
// The bytes that a token stands for. BPE writes the bytes 0 ... 32, 127 ... 160, 173 as U+0100 and on; .s is NULL if it does not.
static Text decode(Text t) {
  char *const s = resize(NULL, t.size, 1), *end = s;
  for (u64 i = 0; i < t.size;) {
    const u32 c = (uint8_t)t.s[i], d = i + 1 < t.size ? (uint8_t)t.s[i + 1] : 0;
    const u32 letter = c < 128 ? c : c >> 5 == 6 && d >> 6 == 2 ? (c & 31) << 6 | (d & 63) : 999;
    const int mark = spm && t.size - i > 2 && !memcmp(t.s + i, "\xE2\x96\x81", 3);  // U+2581 for a space
    if (!spm && letter > 323) return (Text){NULL, 0};
    *end++ = (char)(mark ? ' ' : spm ? c : letter < 256 ? letter : letter < 289 ? letter - 256 : letter < 323 ? letter - 162 : 173);
    i += mark ? 3 : spm || c < 128 ? 1 : 2;
  }
  return (Text){s, (u64)(end - s)};
}
static void load_vocabulary(void) {
  static const char ends[] = " <|eot_id|> <|im_end|> <|end|> <|return|> <|call|> <|flush|> <|calls|> <end_of_turn> <|endoftext|> </s> "
      "<|eom_id|> <EOT> _<EOT> [EOT] [EOS] <|end_of_text|> <end_of_utterance> <eos> <turn|> <|tool_response> [e~[ <|fim_pad|> <fim-pad> "
      "<fim_pad> <PAD> [PAD] <|fim_repo|> <|repo_name|> <fim-repo> <REPO> <reponame> <|file_sep|> <\uFF5Cend\u2581of\u2581sentence\uFF5C> ";
  const Text kind = string("tokenizer.ggml.model"), pre = string("tokenizer.ggml.pre");
  Value text = find("tokenizer.ggml.tokens"), score = find("tokenizer.ggml.scores"), type = find("tokenizer.ggml.token_type");
  Value merge = find("tokenizer.ggml.merges"); spm = same(kind, "llama"), token_count = text.count;
  whole_words = !spm && listed(" llama3 llama-v3 llama-bpe falcon3 falcon-h1 pixtral midm-2.0 lfm2 ", pre);
  digits = whole_words || listed(" dbrx smaug-bpe chatglm-bpe glm4 ", pre) ? 3 : listed(" qwen2 deepseek-r1-qwen stablelm2 hunyuan megrez ", pre);
  lone_numbers = listed(" smollm starcoder refact command-r codeshell exaone minerva-7b ", pre);
  const int bpe = same(kind, "gpt2") && (digits || lone_numbers || listed(" gpt-2 phi-2 olmo mpt jais mellum exaone4 trillion ", pre));
  // By the file's name geist run knows special tokens that take the spaces beside them with them.
  const Text title = string("general.name"); char* const name = resize(NULL, title.size, 1); EACH(i, title.size) name[i] = (char)(title.s[i] | 32);
  const int strips = strstr(name, "phi3") || strstr(name, "phi-3") || strstr(name, "modern-bert"); free(name);
  if (strips || (!spm && (!bpe || merge.type != STRING))) die("the tokenizer of this file is for", "geist run");
  check(text.type == STRING && text.count > 0 && text.count <= embedding.rows);
  check(!score.count || (score.type == REAL && score.count >= text.count)), check(!type.count || (type.type == I32 && type.count >= text.count));
  tokens = resize(NULL, token_count, sizeof(Token)), vocabulary = make_map(token_count), merges = make_map(merge.count), memset(byte_token, -1, sizeof byte_token);
  EACH(i, token_count) {
    Token* const t = tokens + i; const float f = score.count ? float_of((u32)take_int(&score.data, 4)) : 0;
    t->text = take_text(&text.data), t->type = type.count ? (int)take_int(&type.data, 4) : NORMAL, t->score = f - f == 0 ? f : -1e300;
    if ((t->ends = listed(ends, t->text))) t->type = CONTROL;
    Text plain_text = decode(t->text); t->bytes = t->type >= UNKNOWN && t->type <= USER ? t->text : plain_text;
    if (t->text.size == 6 && (t->type == BYTE || (!type.count && spm)) && !memcmp(t->text.s, "<0x", 3)) {
      const char byte = (char)strtol(t->text.s + 3, NULL, 16);
      t->bytes = (Text){memcpy(resize(NULL, 1, 1), &byte, 1), 1}, t->type = BYTE, byte_token[(uint8_t)byte] = (int)i;
    }
    if ((t->type <= NORMAL || t->type == USER || t->type == UNUSED) && plain_text.s && !(spm && memchr(t->text.s, ' ', t->text.size)))
      find_or_put(vocabulary, plain_text, 0, i + 1);
    if (!t->bytes.s) t->bytes = t->text;
  }
  EACH(i, spm ? 0 : merge.count) {
    const Text m = take_text(&merge.data); const char* const space = m.size > 1 ? memchr(m.s + 1, ' ', m.size - 1) : NULL;
    check(space != NULL); const Text left = decode((Text){m.s, (u64)(space - m.s)}), right = decode((Text){space + 1, m.size - (u64)(space - m.s) - 1});
    if (!left.s || !right.s) continue;
    char* const joined = resize((char*)left.s, left.size + right.size, 1);
    memcpy(joined + left.size, right.s, right.size), find_or_put(merges, (Text){joined, left.size + right.size}, left.size, i + 1);
  }
  if (!spm) EACH(b, 256) byte_token[b] = find_token((Text){(char[]){(char)b}, 1});
}
static int special_id(const char* name, int otherwise) {
  const double id = find(name).type < TYPES ? number(name, 0, 1e20, 0) : -1;
  return id >= 0 && id < (double)token_count ? (int)id : otherwise < (int)token_count ? otherwise : -1;
}
// ---- Generation ----
// The 40 likeliest, of these 95 % of the probability, nothing below 5 % of the likeliest; then temperature, and a draw by
// Philox4x32-10, whose number depends on the seed and the position alone.
static int sample(const float* logits, double temperature, u64 seed, u64 position) {
  double logit[40], weight[40], sum = 0, part = 0; int id[40] = {0}; u64 n = 0;
  for (; n < 40; ++n) {
    logit[n] = -0x1p200, id[n] = -1;
    EACH(i, output.rows) {
      const double l = logits[i] > 0x1.fffffep127 ? 0x1.fffffep127 : logits[i];
      if (l >= -0x1.fffffep127 && l > logit[n] && (!n || l < logit[n - 1] || (l == logit[n - 1] && (int)i > id[n - 1]))) logit[n] = l, id[n] = (int)i;
    }
    if (id[n] < 0 || (n == 0 && temperature == 0)) break;
  }
  if (n == 0) return id[0] < 0 ? 0 : id[0];
  EACH(i, n) sum += weight[i] = exp64(logit[i] - logit[0], 0);
  EACH(i, n) if ((part += weight[i]) >= 0.95f * sum) n = i + 1;
  EACH(i, n) if (weight[i] < 0.05f * weight[0]) n = i;
  sum = part = 0; EACH(i, n) sum += weight[i] = exp64((logit[i] - logit[0]) / temperature, 0);
  u32 k0 = (u32)seed, k1 = (u32)(seed >> 32), w[4] = {(u32)position, (u32)(position >> 32), 0x7a8ba4c7, 0xf3d802fe};
  for (int round = 0; round < 10; ++round, k0 += 0x9E3779B9, k1 += 0xBB67AE85) {
    const u64 p = 0xD2511F53ull * w[0], q = 0xCD9E8D57ull * w[2];
    w[0] = (u32)(q >> 32) ^ w[1] ^ k0, w[1] = (u32)q, w[2] = (u32)(p >> 32) ^ w[3] ^ k1, w[3] = (u32)p;
  }
  const double target = (double)(((u64)w[1] << 32 | w[0]) >> 11) * 0x1p-53 * sum; EACH(i, n) if ((part += weight[i]) > target) return id[i];
  return id[n - 1];
}
int main(int argc, char** argv) {
  const char *prompt = NULL, *seed = NULL, *temp = NULL, *limit = NULL; int raw = 0;
  for (int i = 1; i < argc; ++i) {
    const char** const value = !strcmp(argv[i], "-n") ? &limit : !strcmp(argv[i], "--temp") ? &temp : !strcmp(argv[i], "--seed") ? &seed : NULL;
    if (value && i + 1 < argc && !argv[i + 1][strspn(argv[i + 1], &".0123456789"[value != &temp])]) *value = argv[++i];  // numbers
    else if (!strcmp(argv[i], "--raw")) raw = 1;
    else if (prompt || argv[i][0] == '-') path = prompt = NULL, i = argc;
    else *(path ? &prompt : &path) = argv[i];
  }
  if (!prompt) return fprintf(stderr, "usage: g model.gguf PROMPT [-n N] [--seed S] [--temp T] [--raw]\n"), 2;
  const double temperature = temp ? strtof(temp, NULL) : seed ? 0.8f : 0;  // greedy when there is no seed
  open_file(), load_model(), load_vocabulary(), unk = special_id("tokenizer.ggml.unknown_token_id", spm ? 0 : -1);
  const int bos = special_id("tokenizer.ggml.bos_token_id", spm ? 1 : 11), eot = special_id("tokenizer.ggml.eot_token_id", -1);
  const int eos = special_id("tokenizer.ggml.eos_token_id", spm ? 2 : 11), eom = special_id("tokenizer.ggml.eom_token_id", -1);
  if (!raw && number("tokenizer.ggml.add_bos_token", 0, 1, spm || whole_words) > 0) add(bos);
  encode((Text){prompt, strlen(prompt)}, raw, spm ? (u64)number("tokenizer.ggml.add_space_prefix", 0, 1, 1) : 0);
  if (!raw && id_count > 1 && ids[0] == bos && ids[1] == bos) memmove(ids, ids + 1, --id_count * sizeof(int));
  if (!id_count || id_count > context) die("the prompt", id_count ? "is longer than the context" : "is empty");
  for (u64 pos = 0, drawn = 0; pos < id_count && drawn < (limit ? strtoull(limit, NULL, 10) : UINT64_MAX); ++pos) {
    const float* const logits = forward(ids[pos], pos, pos + 1 == id_count); if (!logits) continue;
    const int id = sample(logits, temperature, seed ? strtoull(seed, NULL, 10) : 0, drawn++);
    const Token t = id < (int)token_count ? tokens[id] : (Token){0};
    if (t.ends || id == eos || id == eot || id == eom) break;
    if (t.type != CONTROL && t.type != UNKNOWN) fwrite(t.bytes.s ? t.bytes.s : "", 1, t.bytes.size, stdout), fflush(stdout);
    if (id_count < context) add(id);
  }
  return ferror(stdout) ? 1 : 0;
}
