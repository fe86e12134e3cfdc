
// Activations as 8-bit codes in blocks of 32, for products with quantised weights.
typedef struct { int8_t q[32]; float scale, sum; } Q8;

static void quantize(const float* x, uint64_t n, Q8* out) {
  for (uint64_t b = 0; b < n / 32; ++b, ++out, x += 32) {
    float top = 0;
    int sum = 0;
    for (int i = 0; i < 32; ++i) { const float a = x[i] < 0 ? -x[i] : x[i]; top = a > top ? a : top; }
    const float inverse = top > 0 ? 127.0f / top : 0.0f;
    for (int i = 0; i < 32; ++i) {
      float v = x[i] * inverse;
      v = v > -127.0f ? v : -127.0f, v = v < 127.0f ? v : 127.0f;
      sum += out->q[i] = (int8_t)((v + 12582912.0f) - 12582912.0f);  // 1.5 * 2^23 rounds to nearest even
    }
    out->scale = top / 127.0f, out->sum = out->scale * (float)sum;
  }
}

// y = W x + bias. Plain numbers: 16 lanes and a tree. Quantised: exact integer sums of groups, one after the other.
static void multiply(const Matrix* w, const float* x, float* y) {
  static Q8* q8;
  const Format* const f = w->format;
  if (f->group) q8 = realloc(q8, w->cols / 32 * sizeof(Q8)), quantize(x, w->cols, q8 ? q8 : allocate(~0ull, 1));
  for (uint64_t r = 0; r < w->rows; ++r) {
    const uint8_t* const p = w->data + r * w->row_bytes;
    float lane[16] = {0};
    Block b;
    for (uint64_t k = 0; k < w->cols && !f->group; ++k) lane[k % 16] = fma32(plain(f, p, k), x[k], lane[k % 16]);
    for (uint64_t k = 0; k < w->cols && f->group; k += f->group) {
      const uint64_t in = k % f->block, g = in / f->group;
      const Q8* const a = q8 + k / 32;
      int sum = 0;
      if (in == 0) unpack(f, p + k / f->block * f->bytes, &b);
      for (uint64_t i = 0; i < f->group; ++i) sum += b.q[in + i] * a->q[k % 32 + i];
      lane[0] = fma32((float)sum, b.s[g] * a->scale, lane[0]);
      if (f->id == Q4_K) lane[0] = fma32(b.m[g], a->sum, lane[0]);
    }
    y[r] = f->group ? lane[0] : tree16(lane);
    if (w->bias) y[r] += w->bias[r];
  }
}

// ---- The model -------------------------------------------------------------------------------------------------------

typedef struct { float *attn_norm, *ffn_norm, *q_norm, *k_norm; Matrix q, k, v, o, gate, up, down; } Layer;
static uint64_t layers, width, hidden, heads, kv_heads, head, pairs, context, vocab;
static int halves;  // qwen's rotary pairs are i and i + pairs, llama's 2i and 2i + 1
static float epsilon, attention_scale, *output_norm, **pages;
static double *frequencies, magnitude;
static Layer* layer;
static Matrix embedding, output;

static void load_model(void) {
  const Text arch = string("general.architecture");
  if (!same(arch, "llama") && !same(arch, "qwen2") && !same(arch, "qwen3")) die("not a llama, qwen2 or qwen3 model");
  halves = !same(arch, "llama");
  if (number("%.*s.expert_count", arch, 0, 4096, 0) > 0) die("mixtures of experts are not read here (geist run does)");
  layers = (uint64_t)number("%.*s.block_count", arch, 1, 512, 0);
  context = (uint64_t)number("%.*s.context_length", arch, 1, 1 << 30, 0);
  width = (uint64_t)number("%.*s.embedding_length", arch, 1, 1 << 20, 0);
  hidden = (uint64_t)number("%.*s.feed_forward_length", arch, 1, 1 << 20, 0);
  heads = (uint64_t)number("%.*s.attention.head_count", arch, 1, 4096, 0);
  kv_heads = (uint64_t)number("%.*s.attention.head_count_kv", arch, 1, 4096, (double)heads);
  head = (uint64_t)number("%.*s.attention.key_length", arch, 1, 8192, (double)(width / heads));
  pairs = (uint64_t)number("%.*s.rope.dimension_count", arch, 0, (double)head, (double)head) / 2;
  epsilon = (float)number("%.*s.attention.layer_norm_rms_epsilon", arch, 1e-30, 1, 0);
  if (heads % kv_heads || number("%.*s.attention.value_length", arch, 1, 8192, (double)head) != (double)head) die("odd heads");
  const double scale = number("%.*s.attention.scale", arch, -1e9, 1e9, 0);
  attention_scale = (float)(scale != 0 ? scale : 1.0 / pow64((double)head, 0.5));
  const Key* const scaling = find_key("%.*s.rope.scaling.type", arch);
  const Text kind = scaling && scaling->type == STRING ? take_text(&(Cursor){scaling->data.at, scaling->data.end}) : (Text){"linear", 6};
  if (!same(kind, "linear") && !same(kind, "none")) die("this scaling of RoPE is not read here (geist run does)");
  double factor = number("%.*s.rope.scaling.factor", arch, 0, 1e6, number("%.*s.rope.scale_linear", arch, 0, 1e6, 0));
  factor = same(kind, "none") || factor == 0 ? 1 : factor < 0.01 ? 0.01 : factor;
  magnitude = number("%.*s.rope.scaling.attn_factor", arch, 1e-3, 1e3, 1);
  const float* const divisors = pairs ? vector("rope_freqs.weight", 0, pairs, 1) : NULL;
  const double base = number("%.*s.rope.freq_base", arch, 1.001, 1e12, 10000);
  frequencies = allocate(pairs, sizeof(double));
  for (uint64_t i = 0; i < pairs; ++i) {
    if (divisors && !(divisors[i] >= 1e-6f && divisors[i] <= 1e6f)) die("damaged rope_freqs.weight");
    frequencies[i] = pow64(base, -2.0 * (double)i / (double)(2 * pairs)) / (divisors ? (double)divisors[i] : 1.0) / factor;
  }
  const Tensor* t = tensors;
  while (t < tensors_end && !same(t->name, "token_embd.weight")) ++t;
  vocab = t < tensors_end && t->dims[1] < 1 << 24 ? t->dims[1] : 1;
  embedding = matrix("token_embd.weight", 0, width, vocab, 0);
  output = matrix("output.weight", 0, width, vocab, 1);
  if (!output.data) output = embedding;
  output_norm = vector("output_norm.weight", 0, width, 0);
  layer = allocate(layers, sizeof(Layer));
  for (int i = 0; i < (int)layers; ++i) {
    Layer* const l = layer + i;
    l->attn_norm = vector("blk.%d.attn_norm.weight", i, width, 0), l->ffn_norm = vector("blk.%d.ffn_norm.weight", i, width, 0);
    l->q_norm = vector("blk.%d.attn_q_norm.weight", i, head, !same(arch, "qwen3"));
    l->k_norm = vector("blk.%d.attn_k_norm.weight", i, head, !same(arch, "qwen3"));
    l->q = matrix("blk.%d.attn_q.weight", i, width, heads * head, 0);
    l->k = matrix("blk.%d.attn_k.weight", i, width, kv_heads * head, 0);
    l->v = matrix("blk.%d.attn_v.weight", i, width, kv_heads * head, 0);
    l->o = matrix("blk.%d.attn_output.weight", i, heads * head, width, 0);
    l->gate = matrix("blk.%d.ffn_gate.weight", i, width, hidden, 0), l->up = matrix("blk.%d.ffn_up.weight", i, width, hidden, 0);
    l->down = matrix("blk.%d.ffn_down.weight", i, hidden, width, 0);
  }
}

static void norm(const float* x, const float* weight, uint64_t n, float* out) {
  float lane[16] = {0};
  for (uint64_t i = 0; i < n; ++i) lane[i % 16] = fma32(x[i], x[i], lane[i % 16]);
  const float r = 1.0f / sqrt32(tree16(lane) / (float)n + epsilon);
  for (uint64_t i = 0; i < n; ++i) out[i] = x[i] * r * weight[i];
}

static void rotate(float* x, uint64_t count, const float* cosine, const float* sine) {
  for (; count > 0; --count, x += head)
    for (uint64_t i = 0; i < pairs; ++i) {
      float *const a = x + (halves ? i : 2 * i), *const b = a + (halves ? pairs : 1), old = *a;
      *a = fma32(old, cosine[i], -(*b * sine[i])), *b = fma32(old, sine[i], *b * cosine[i]);
    }
}

// One query head over all positions up to `pos`, page by page of 32: softmax with a running maximum.
static void attend(const float* q, uint64_t l, uint64_t kv_head, uint64_t pos, float* out) {
  float top = float_of(0xff800000), sums[16] = {0}, e[32];
  for (uint64_t d = 0; d < head; ++d) out[d] = 0;
  for (uint64_t first = 0; first <= pos; first += 32) {
    const uint64_t count = pos - first < 32 ? pos - first + 1 : 32;
    const float* const k = pages[first / 32] + (l * 2 * 32 * kv_heads + kv_head) * head;  // [layer][k, v][32][kv head][head]
    const float* const v = k + 32 * kv_heads * head;
    float max = top;
    for (uint64_t j = 0; j < count; ++j) {
      float s = 0;
      for (uint64_t d = 0; d < head; ++d) s = fma32(q[d], k[j * kv_heads * head + d], s);
      e[j] = s * attention_scale;
      max = max > e[j] ? max : e[j];
    }
    const float shrink = exp32(top - max);
    for (uint64_t j = 0; j < 16; ++j) sums[j] *= shrink;
    for (uint64_t j = 0; j < count; ++j) sums[j % 16] += e[j] = exp32(e[j] - max);
    for (uint64_t d = 0; d < head; ++d) {
      out[d] *= shrink;
      for (uint64_t j = 0; j < count; ++j) out[d] = fma32(e[j], v[j * kv_heads * head + d], out[d]);
    }
    top = max;
  }
  const float inverse = 1.0f / tree16(sums);
  for (uint64_t d = 0; d < head; ++d) out[d] *= inverse;
}

// Puts a token at position `pos`; the logits of what follows, unless not wanted.
static const float* forward(int token, uint64_t pos, int wanted) {
  static float *x, *h, *q, *a, *up, *gate, *logits, *cosine, *sine;
  if (!x) {
    x = allocate(width, 4), h = allocate(width, 4), q = allocate(heads * head, 4), a = allocate(heads * head, 4);
    up = allocate(hidden, 4), gate = allocate(hidden, 4), logits = allocate(vocab, 4), cosine = allocate(pairs, 4), sine = allocate(pairs, 4);
  }
  if (pos % 32 == 0) {
    pages = realloc(pages, (pos / 32 + 1) * sizeof *pages);
    (pages ? pages : allocate(~0ull, 1))[pos / 32] = allocate(layers * 2 * 32 * kv_heads * head, 4);
  }
  for (uint64_t i = 0; i < pairs; ++i) {
    const double angle = frequencies[i] * (double)pos < 0x1p30 ? frequencies[i] * (double)pos : 0x1p30;
    cosine[i] = (float)(sin64(angle, 1) * magnitude), sine[i] = (float)(sin64(angle, 0) * magnitude);
  }
  read_row(&embedding, (uint64_t)token, x);
  for (uint64_t l = 0; l < layers; ++l) {
    const Layer* const w = layer + l;
    float* const k = pages[pos / 32] + (l * 2 * 32 + pos % 32) * kv_heads * head;
    norm(x, w->attn_norm, width, h);
    multiply(&w->q, h, q), multiply(&w->k, h, k), multiply(&w->v, h, k + 32 * kv_heads * head);
    for (uint64_t i = 0; i < heads && w->q_norm; ++i) norm(q + i * head, w->q_norm, head, q + i * head);
    for (uint64_t i = 0; i < kv_heads && w->k_norm; ++i) norm(k + i * head, w->k_norm, head, k + i * head);
    rotate(q, heads, cosine, sine), rotate(k, kv_heads, cosine, sine);
    for (uint64_t i = 0; i < heads; ++i) attend(q + i * head, l, i / (heads / kv_heads), pos, a + i * head);
    multiply(&w->o, a, h);
    for (uint64_t i = 0; i < width; ++i) x[i] += h[i];
    norm(x, w->ffn_norm, width, h);
    multiply(&w->gate, h, gate), multiply(&w->up, h, up);
    for (uint64_t i = 0; i < hidden; ++i) gate[i] = gate[i] * (1.0f / (1.0f + exp32(-gate[i]))) * up[i];
    multiply(&w->down, gate, h);
    for (uint64_t i = 0; i < width; ++i) x[i] += h[i];
  }
  if (wanted) norm(x, output_norm, width, h), multiply(&output, h, logits);
  return logits;
}

// ---- The text --------------------------------------------------------------------------------------------------------

// All letters and numbers of Unicode 15, in order: the gap to the last one, then twice the length less 1, plus 1 for
// numbers. Digits of base 31 from '@' on (without the backslash), all but the last of a number 31 higher.
static const char letters_and_numbers[] =
UNICODE_TABLE
enum { LETTER = 1, NUMBER = 2, SPACE = 4, OTHER = 8 };
static uint8_t class_of[0x110000];

static void fill_classes(void) {
  uint64_t at = 0, value = 0, gap = 0, odd = 0;
  memset(class_of, OTHER, sizeof class_of);
  for (const char* c = letters_and_numbers; *c; ++c) {
    const uint64_t digit = (uint64_t)(*c - '@' - (*c > 92));
    value = value * 31 + digit % 31;
    if (digit >= 31) continue;
    if (odd++ % 2 == 0) gap = value;
    else memset(class_of + at + gap, value % 2 ? NUMBER : LETTER, value / 2 + 1), at += gap + value / 2 + 1;
    value = 0;
  }
  static const uint32_t spaces[][2] = {{9, 13}, {32, 32}, {0x85, 0x85}, {0xA0, 0xA0}, {0x1680, 0x1680}, {0x2000, 0x200A}, {0x2028, 0x2029}, {0x202F, 0x202F}, {0x205F, 0x205F}, {0x3000, 0x3000}};
  for (int i = 0; i < 10; ++i) memset(class_of + spaces[i][0], SPACE, spaces[i][1] - spaces[i][0] + 1);
}

// The class of the character at i, 0 at the end; *next is set behind it. A byte that is no UTF-8 is a character.
static int class_at(Text t, uint64_t i, uint64_t* next) {
  if (i >= t.size) return *next = i, 0;
  const uint8_t* const s = (const uint8_t*)t.s + i;
  const uint64_t n = s[0] < 0x80 ? 1 : s[0] < 0xC2 ? 0 : s[0] < 0xE0 ? 2 : s[0] < 0xF0 ? 3 : s[0] < 0xF5 ? 4 : 0;
  uint32_t c = n == 1 ? s[0] : s[0] & (0x7Fu >> n);
  *next = i + 1;
  for (uint64_t k = 1; k < n; ++k) {
    if (i + k >= t.size || (s[k] & 0xC0) != 0x80) return OTHER;
    c = c << 6 | (s[k] & 0x3F);
  }
  if (n == 0 || (n == 3 && (c < 0x800 || (c >= 0xD800 && c < 0xE000))) || (n == 4 && (c < 0x10000 || c > 0x10FFFF))) return OTHER;
  return *next = i + n, class_of[c];
}
static uint64_t run(Text t, uint64_t i, int classes, int limit) {
  for (uint64_t next; limit-- && (class_at(t, i, &next) & classes); i = next) {}
  return i;
}

static int is_newline(Text t, uint64_t i) { return i < t.size && (t.s[i] == '\n' || t.s[i] == '\r'); }

static uint64_t contraction(Text t, uint64_t i, int fold) {  // 's 't 'm 'd 're 've 'll
  char a = i + 1 < t.size ? t.s[i + 1] : 0, b = i + 2 < t.size ? t.s[i + 2] : 0;
  if (fold && a >= 'A' && a <= 'Z') a |= 32;
  if (fold && b >= 'A' && b <= 'Z') b |= 32;
  if (t.s[i] != '\'') return i;
  if (a == 's' || a == 't' || a == 'm' || a == 'd') return i + 2;
  return (a == 'r' && b == 'e') || (a == 'v' && b == 'e') || (a == 'l' && b == 'l') ? i + 3 : i;
}

enum { GPT2, LLAMA3, QWEN2, SMOLLM };
// The end of the word that starts at i, by the regular expressions of the four families.
static uint64_t word_end(int family, Text t, uint64_t i) {
  uint64_t next, end = contraction(t, i, family == LLAMA3 || family == QWEN2);
  const int newlines = family == LLAMA3 || family == QWEN2, c = class_at(t, i, &next);
  if (end > i) return end;
  const uint64_t start = t.s[i] == ' ' ? i + 1 : i;
  uint64_t after;
  const int d = class_at(t, start, &after);
  if (newlines) {
    if (c == LETTER) return run(t, i, LETTER, -1);
    if (c == NUMBER) return run(t, i, NUMBER, family == LLAMA3 ? 3 : 1);
    if (!is_newline(t, i) && class_at(t, next, &after) == LETTER) return run(t, next, LETTER, -1);
  } else if (d == LETTER || d == NUMBER) {
    return run(t, start, d, -1);
  }
  if (d == OTHER) {
    end = run(t, start, OTHER, -1);
    while (newlines && is_newline(t, end)) ++end;
    return end;
  }
  uint64_t last = i, behind_newline = i;  // white space: through the last newline, or up to the last space before a word
  for (end = i; class_at(t, end, &next) == SPACE; end = next) {
    last = end;
    if (is_newline(t, end)) behind_newline = next;
  }
  return newlines && behind_newline > i ? behind_newline : last > i && end < t.size ? last : end;
}

// Strings to numbers; the first value of a key stays.
typedef struct { Text* key; int* value; uint64_t mask; } Map;
static Map tokens_of, merges;
static uint64_t slot(const Map* m, Text key) {
  uint64_t h = 0xcbf29ce484222325u;
  for (uint64_t i = 0; i < key.size; ++i) h = (h ^ (uint8_t)key.s[i]) * 0x100000001b3u;
  for (h ^= h >> 32; m->key[h & m->mask].s && (m->key[h & m->mask].size != key.size || memcmp(m->key[h & m->mask].s, key.s, key.size)); ++h) {}
  return h & m->mask;
}
static Map make_map(uint64_t count) {
  uint64_t size = 2;
  while (size < 2 * count + 2) size *= 2;
  return (Map){allocate(size, sizeof(Text)), allocate(size, sizeof(int)), size - 1};
}
static void put(Map* m, Text key, int value) {
  const uint64_t i = slot(m, key);
  if (!m->key[i].s) m->key[i] = key, m->value[i] = value;
}
static int get(const Map* m, Text key) { const uint64_t i = slot(m, key); return m->key[i].s ? m->value[i] : -1; }

enum { NORMAL = 1, UNKNOWN, CONTROL, USER, UNUSED, BYTE };
static struct { Text *text, *bytes; uint8_t *type, *ends; const float* scores; int count, bos, eos, eot, unk, add_bos, prefix, spm, family, whole_words; } v;
static int byte_token[256], letter_of_byte[256], byte_of_letter[0x180];
