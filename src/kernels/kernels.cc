// Which instruction sets this processor has, and the tables built for them, each once.
#include "kernels/kernels.h"

#include <cstdlib>

#if defined(__x86_64__)
#include <cpuid.h>
#endif
#if defined(__linux__)
#include <sys/syscall.h>
#include <unistd.h>
#endif

#include "kernels/kernel_fill.h"

namespace geist::kernels {
namespace {

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
#endif

Kernels make_scalar() {
  Kernels k{};
  k.isa = Isa::kScalar;
  k.name = "scalar";
  fill_row_kernels_scalar(k);
  fill_float_kernels_scalar(k);
  fill_attention_kernels_scalar(k);
  fill_panel_kernels_scalar(k);
  return k;
}

#if defined(__x86_64__)
Kernels make_avx2() {
  Kernels k{};
  k.isa = Isa::kAvx2;
  k.name = "avx2";
  fill_row_kernels_avx2(k);
  fill_float_kernels_avx2(k);
  fill_attention_kernels_avx2(k);
  fill_panel_kernels_avx2(k);
  return k;
}

Kernels make_avx512() {
  const bool has_vnni = __builtin_cpu_supports("avx512vnni");
  Kernels k{};
  k.isa = Isa::kAvx512;
  k.name = has_vnni ? "avx512vnni" : "avx512";
  fill_row_kernels_avx512(k);
  fill_float_kernels_avx512(k);
  fill_attention_kernels_avx512(k);
  has_vnni ? fill_panel_kernels_avx512vnni(k) : fill_panel_kernels_avx512(k);
  return k;
}

Kernels make_avx512amx() {
  Kernels k = make_avx512();
  k.isa = Isa::kAvx512Amx;
  k.name = "avx512amx";
  fill_panel_kernels_avx512amx(k);
  return k;
}
#endif

}  // namespace

const Kernels* kernels_for(Isa isa) {
  if (isa == Isa::kScalar) {
    static const Kernels scalar = make_scalar();
    return &scalar;
  }
#if defined(__x86_64__)
  if (isa == Isa::kAvx2 && has_avx2()) {
    static const Kernels avx2 = make_avx2();
    return &avx2;
  }
  if (isa == Isa::kAvx512 && has_avx512()) {
    static const Kernels avx512 = make_avx512();
    return &avx512;
  }
  static const bool amx = has_amx();
  if (isa == Isa::kAvx512Amx && amx) {
    static const Kernels avx512amx = make_avx512amx();
    return &avx512amx;
  }
#endif
  return nullptr;
}

std::optional<Isa> isa_from_name(std::string_view name) {
  if (name == "scalar") return Isa::kScalar;
  if (name == "avx2") return Isa::kAvx2;
  if (name == "avx512") return Isa::kAvx512;
  if (name == "avx512amx") return Isa::kAvx512Amx;
  return std::nullopt;
}

const Kernels* default_kernels(const char** error) {
  const char* wanted = std::getenv("GEIST_ISA");
  if (wanted == nullptr || *wanted == '\0') {
    for (const Isa isa : {Isa::kAvx512Amx, Isa::kAvx512, Isa::kAvx2}) {
      if (const Kernels* found = kernels_for(isa)) return found;
    }
    return kernels_for(Isa::kScalar);
  }
  const std::optional<Isa> isa = isa_from_name(wanted);
  if (!isa) {
    *error =
        "GEIST_ISA is not an instruction set Geist knows; use scalar, avx2, avx512 or avx512amx, "
        "or "
        "unset it";
    return nullptr;
  }
  const Kernels* found = kernels_for(*isa);
  if (found == nullptr) {
    *error = "this processor cannot run the instruction set that GEIST_ISA names; unset it";
  }
  return found;
}

}  // namespace geist::kernels
