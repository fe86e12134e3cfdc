#include "cli/sampler_options.h"

#include <sys/random.h>

#include <CLI/CLI.hpp>
#include <charconv>
#include <cstdio>
#include <cstdlib>
#include <cstring>

#include "engine/dry_breakers.h"

namespace geist::cli {
namespace {

using engine::SamplerOptions;

// The numbers of the chain, once, for the command line and for /set.
struct FloatField {
  const char* name;
  float SamplerOptions::*field;
  const char* text;
};
struct IntField {
  const char* name;
  int32_t SamplerOptions::*field;
  const char* text;
};

constexpr FloatField kFloatFields[] = {
    {"temp", &SamplerOptions::temperature, "temperature; 0 takes the likeliest token always"},
    {"top-p", &SamplerOptions::top_p,
     "keep the likeliest tokens that make up this probability; 1: off"},
    {"min-p", &SamplerOptions::min_p,
     "keep tokens at least this likely relative to the likeliest; 0: off"},
    {"typical", &SamplerOptions::typical_p, "locally typical sampling; 1: off"},
    {"xtc-probability", &SamplerOptions::xtc_probability,
     "chance of excluding top choices; 0: off"},
    {"xtc-threshold", &SamplerOptions::xtc_threshold,
     "probability that makes a top choice; above 0.5: off"},
    {"dry-multiplier", &SamplerOptions::dry_multiplier, "strength of the DRY penalty; 0: off"},
    {"dry-base", &SamplerOptions::dry_base,
     "growth of the DRY penalty with the length of the repetition"},
    {"repeat-penalty", &SamplerOptions::repeat_penalty, "penalty of repeated tokens; 1: off"},
    {"presence-penalty", &SamplerOptions::presence_penalty,
     "subtracted once for tokens that were there; 0: off"},
    {"frequency-penalty", &SamplerOptions::frequency_penalty,
     "subtracted for each time a token was there; 0: off"},
    {"mirostat-ent", &SamplerOptions::mirostat_tau, "mirostat's target surprise, tau, in bits"},
    {"mirostat-lr", &SamplerOptions::mirostat_eta, "mirostat's learning rate, eta"},
};
constexpr IntField kIntFields[] = {
    {"top-k", &SamplerOptions::top_k, "keep the k likeliest tokens; 0: off"},
    {"dry-allowed-length", &SamplerOptions::dry_allowed_length,
     "repetitions up to this long are free"},
    {"dry-penalty-last-n", &SamplerOptions::dry_penalty_last_n,
     "tokens that DRY looks back; -1: all"},
    {"repeat-last-n", &SamplerOptions::penalty_last_n,
     "tokens that the penalties look back; -1: all, 0: off"},
    {"mirostat", &SamplerOptions::mirostat, "0: off, 2: mirostat 2 instead of top-k ... XTC"},
    {"min-keep", &SamplerOptions::min_keep, "tokens that every filter leaves at least"},
};

uint64_t random_seed() {
  uint32_t seed = 0;  // 32 bits: short enough to type again
  if (::getrandom(&seed, sizeof seed, 0) != static_cast<ssize_t>(sizeof seed)) return 0;
  return seed;
}

Result<float> parse_float(const std::string& text) {
  char* end = nullptr;
  const float value = std::strtof(text.c_str(), &end);
  if (text.empty() || end != text.c_str() + text.size())
    return errorf("'%s' is not a number", text.c_str());
  return value;
}

Result<uint64_t> parse_seed(const std::string& text) {
  uint64_t seed = 0;
  const char* const end = text.data() + text.size();
  const auto [at, error] = std::from_chars(text.data(), end, seed);
  if (error != std::errc() || at != end)
    return errorf("'%s' is not a seed: a whole number from 0 to 2^64 - 1", text.c_str());
  return seed;
}

// CLI11 alone would take -1 and numbers that do not fit for the largest one.
std::string check_seed(const std::string& text) {
  const auto seed = parse_seed(text);
  return seed.ok() ? "" : seed.error().message;
}

// "ID+BIAS", "ID-BIAS" or "ID=BIAS".
Status add_logit_bias(const std::string& text, SamplerOptions& options) {
  const size_t sign = text.find_first_of("+-=");
  engine::TokenId id = 0;
  if (sign != std::string::npos && sign > 0) {
    const auto [end, error] = std::from_chars(text.data(), text.data() + sign, id);
    const auto bias = parse_float(text.substr(text[sign] == '=' ? sign + 1 : sign));
    if (error == std::errc() && end == text.data() + sign && id >= 0 && bias.ok()) {
      options.logit_bias[id] = *bias;
      return {};
    }
  }
  return errorf("--logit-bias takes ID+BIAS or ID-BIAS, such as 15043-1.5 or 2-inf, and not '%s'",
                text.c_str());
}

std::vector<std::string> usual_dry_breakers() { return {"\n", ":", "\"", "*"}; }

Status set_number(SamplerOptions& options, const std::string& name, const std::string& value) {
  for (const IntField& field : kIntFields) {
    if (name != field.name) continue;
    int32_t whole = 0;
    const char* const end = value.data() + value.size();
    const auto [next, error] = std::from_chars(value.data(), end, whole);
    if (error != std::errc() || next != end)
      return errorf("'%s' is not a whole number", value.c_str());
    options.*field.field = whole;
    return {};
  }
  const auto number = parse_float(value);
  if (!number.ok()) return number.error();
  for (const FloatField& field : kFloatFields) {
    if (name == field.name) {
      options.*field.field = *number;
      return {};
    }
  }
  return errorf("there is no option '%s'; /set alone lists them", name.c_str());
}

}  // namespace

void add_sampler_options(CLI::App& app, SamplerFlags& flags) {
  const std::string group = "Sampling";
  for (const FloatField& field : kFloatFields) {
    std::string names = "--" + std::string(field.name);
    if (std::strcmp(field.name, "temp") == 0) names += ",--temperature";
    app.add_option(names, flags.options.*field.field, field.text)
        ->capture_default_str()
        ->group(group);
  }
  for (const IntField& field : kIntFields) {
    app.add_option("--" + std::string(field.name), flags.options.*field.field, field.text)
        ->capture_default_str()
        ->group(group);
  }
  app.add_option("-s,--seed", flags.seed, "of the random numbers (default: a new one each time)")
      ->check(check_seed)
      ->group(group);
  app.add_option("--logit-bias", flags.logit_bias,
                 "ID+BIAS or ID-BIAS, added to a token's logit; may be repeated")
      ->allow_extra_args(false)
      ->group(group);
  app.add_option("--dry-sequence-breaker", flags.dry_breakers,
                 "text that ends a DRY match; may be repeated; replaces newline : \" *")
      ->allow_extra_args(false)
      ->group(group);
}

Status check_sampler_flags(const SamplerFlags& flags) {
  SamplerOptions options = flags.options;
  for (const std::string& text : flags.logit_bias) {
    if (Status status = add_logit_bias(text, options); !status) return status;
  }
  return engine::validate(options);
}

Result<SamplerOptions> finish_sampler_options(const SamplerFlags& flags,
                                              const text::Tokenizer& tokenizer) {
  SamplerOptions options = flags.options;
  options.seed = flags.seed.has_value() ? *flags.seed : random_seed();
  for (const std::string& text : flags.logit_bias) {
    if (Status status = add_logit_bias(text, options); !status) return status.error();
  }
  for (const auto& [id, bias] : options.logit_bias)
    if (id < 0 || id >= tokenizer.size())
      return errorf("--logit-bias %d%+g: the model has tokens 0 to %d", id, double{bias},
                    tokenizer.size() - 1);
  if (options.dry_multiplier > 0) {
    options.dry_breakers = engine::dry_breakers(
        tokenizer, flags.dry_breakers.empty() ? usual_dry_breakers() : flags.dry_breakers);
  }
  return options;
}

Status set_sampler_option(SamplerOptions& options, const std::string& name,
                          const std::string& value, const text::Tokenizer& tokenizer) {
  SamplerOptions changed = options;
  if (name == "seed") {
    const auto seed = parse_seed(value);
    if (!seed.ok()) return seed.error();
    changed.seed = *seed;
  } else if (Status status = set_number(changed, name, value); !status) {
    return status;
  }
  if (Status status = engine::validate(changed); !status) return status;
  if (changed.dry_multiplier > 0 && changed.dry_breakers.empty()) {
    changed.dry_breakers = engine::dry_breakers(tokenizer, usual_dry_breakers());
  }
  options = std::move(changed);
  return {};
}

std::string describe_sampler_options(const SamplerOptions& options) {
  std::string out;
  char line[200];
  const auto add = [&](const char* name, double value, const char* text) {
    std::snprintf(line, sizeof line, "  %-20s %-10g %s\n", name, value, text);
    out += line;
  };
  for (const FloatField& field : kFloatFields)
    add(field.name, double{options.*field.field}, field.text);
  for (const IntField& field : kIntFields) add(field.name, options.*field.field, field.text);
  std::snprintf(line, sizeof line, "  %-20s %llu\n", "seed",
                static_cast<unsigned long long>(options.seed));
  return out + line;
}

}  // namespace geist::cli
