// Which instruction sets this processor has, and the tables built for them, each once.
#include "kernels/kernels.h"

#include <array>
#include <cstdlib>
#include <string>

#if defined(__x86_64__)
#include <cpuid.h>
#elif defined(__aarch64__)
#include <asm/hwcap.h>
#include <sys/auxv.h>
#endif
#if defined(__linux__)
#include <sys/syscall.h>
#include <unistd.h>
#endif

#include "kernels/kernel_fill.h"

namespace geist::kernels {
namespace {

void fill_portable(Kernels& k) {
  fill_row_kernels_scalar(k);
  fill_float_kernels_scalar(k);
  fill_attention_kernels_scalar(k);
  fill_panel_kernels_scalar(k);
}

bool runs_everywhere() { return true; }

#if defined(__x86_64__)
// __builtin_cpu_supports also asks whether the operating system saves the wide registers.
bool has_avx2() {
  unsigned eax = 0, ebx = 0, ecx = 0, edx = 0;
  const bool has_f16c = __get_cpuid(1, &eax, &ebx, &ecx, &edx) != 0 && (ecx & bit_F16C) != 0;
  return has_f16c && __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
}

bool has_avx512() {
  return has_avx2() && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
         __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl");
}

// The matrix unit, for signed bytes. Linux gives a process the memory for its registers when asked.
bool has_amx() {
#if defined(__linux__)
  unsigned eax = 0, ebx = 0, ecx = 0, edx = 0;
  constexpr unsigned kTile = 1u << 24, kInt8 = 1u << 25;
  if (__get_cpuid_count(7, 0, &eax, &ebx, &ecx, &edx) == 0) return false;
  if ((edx & kTile) == 0 || (edx & kInt8) == 0) return false;
  constexpr long kRequestPermission = 0x1023, kTileData = 18;  // ARCH_REQ_XCOMP_PERM, XTILEDATA
  return has_avx512() && __builtin_cpu_supports("avx512vnni") &&
         ::syscall(SYS_arch_prctl, kRequestPermission, kTileData) == 0;
#else
  return false;
#endif
}

bool has_avx512vnni() { return has_avx512() && __builtin_cpu_supports("avx512vnni"); }

void fill_scalar(Kernels& k) { has_avx2() ? fill_kernels_scalar_fma(k) : fill_portable(k); }

void fill_avx2(Kernels& k) {
  fill_row_kernels_avx2(k);
  fill_float_kernels_avx2(k);
  fill_attention_kernels_avx2(k);
  fill_panel_kernels_avx2(k);
}

void fill_avx512(Kernels& k) {
  fill_row_kernels_avx512(k);
  fill_float_kernels_avx512(k);
  fill_attention_kernels_avx512(k);
  fill_panel_kernels_avx512(k);
}

void fill_avx512vnni(Kernels& k) {
  fill_avx512(k);
  fill_panel_kernels_avx512vnni(k);
}

void fill_avx512amx(Kernels& k) {
  fill_avx512(k);
  fill_panel_kernels_avx512amx(k);
}
#else
void fill_scalar(Kernels& k) { fill_portable(k); }
#endif

#if defined(__aarch64__)
bool has_neondot() { return (getauxval(AT_HWCAP) & HWCAP_ASIMDDP) != 0; }

void fill_neon(Kernels& k) {
  fill_row_kernels_neon(k);
  fill_float_kernels_neon(k);
  fill_attention_kernels_neon(k);
  fill_panel_kernels_neon(k);
}

void fill_neondot(Kernels& k) {
  fill_neon(k);
  fill_panel_kernels_neondot(k);
}
#endif

struct InstructionSet {
  Isa isa;
  std::string_view name;  // also what GEIST_ISA calls it
  bool (*runs_here)();
  void (*fill)(Kernels& k);
};

// From the slowest to the fastest.
constexpr InstructionSet kInstructionSets[] = {
    {Isa::kPortable, "portable", runs_everywhere, fill_portable},
    {Isa::kScalar, "scalar", runs_everywhere, fill_scalar},
#if defined(__x86_64__)
    {Isa::kAvx2, "avx2", has_avx2, fill_avx2},
    {Isa::kAvx512, "avx512f", has_avx512, fill_avx512},
    {Isa::kAvx512Vnni, "avx512vnni", has_avx512vnni, fill_avx512vnni},
    {Isa::kAvx512Amx, "avx512amx", has_amx, fill_avx512amx},
#elif defined(__aarch64__)
    {Isa::kNeon, "neon", runs_everywhere, fill_neon},
    {Isa::kNeonDot, "neondot", has_neondot, fill_neondot},
#endif
};
constexpr size_t kCount = std::size(kInstructionSets);

struct Tables {
  std::array<Kernels, kCount> table{};
  std::array<const Kernels*, kCount> runs_here{};
  size_t count = 0;

  Tables() {
    for (const InstructionSet& set : kInstructionSets) {
      if (!set.runs_here()) continue;
      Kernels& k = table[count];
      k.isa = set.isa;
      k.name = set.name;
      set.fill(k);
      runs_here[count++] = &k;
    }
  }
};

}  // namespace

std::span<const Kernels* const> all_kernels() {
  static const Tables tables;
  return std::span(tables.runs_here).first(tables.count);
}

const Kernels* kernels_for(Isa isa) {
  for (const Kernels* k : all_kernels())
    if (k->isa == isa) return k;
  return nullptr;
}

const Kernels* default_kernels(const char** error) {
  const char* variable = std::getenv("GEIST_ISA");
  const std::string given = variable != nullptr ? variable : "";
  std::string wanted = given;
  for (char& c : wanted)
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c + 32);
  const std::span<const Kernels* const> tables = all_kernels();
  bool known = wanted == "avx512";
  for (const InstructionSet& set : kInstructionSets) known |= set.name == wanted;
  for (size_t i = tables.size(); i-- > 0;) {
    const std::string_view name = tables[i]->name;
    if (wanted.empty() || name == wanted ||
        (wanted == "avx512" && (name == "avx512vnni" || name == "avx512f")))
      return tables[i];
  }
  // Once: the variable stays as it is while the program runs.
  static const std::string message =
      "GEIST_ISA is '" + given.substr(0, 64) +
      (known ? "', which this processor cannot run; unset it"
             : "', which is not an instruction set that Geist has here; use portable or scalar, on "
               "x86-64 also avx2, avx512, avx512f, avx512vnni or avx512amx, on AArch64 neon or "
               "neondot, or unset it");
  *error = message.c_str();
  return nullptr;
}

}  // namespace geist::kernels
