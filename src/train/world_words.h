// Words of the small world, and templates over them: "{a|b||c}" picks a or b, or, when the wording
// is the reserved one, c; "$name" stands for a slot.
#pragma once

#include <map>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/rng.h"

namespace geist::train {

using WordList = std::span<const std::string_view>;

WordList first_syllables();
WordList last_syllables();
WordList places();
WordList colours();
WordList animals();
WordList foods();
WordList things();
WordList jobs();
WordList traits();
WordList weathers();

std::string pick(WordList words, RandomStream& random);
// One of some hundred names that no other text has.
std::string pick_name(RandomStream& random);

// Fisher and Yates: every order is as likely.
template <typename T>
void shuffle(std::vector<T>& list, RandomStream& random) {
  for (size_t i = list.size(); i > 1; --i) std::swap(list[i - 1], list[random.next_below(i)]);
}

using Slots = std::map<std::string, std::string, std::less<>>;
// Reserved wordings stand behind "||"; a group without any has one set for both.
enum class Wording : uint8_t { kCommon, kReserved };

// A slot's name is lower-case letters; "$Name" starts its text with a capital. An unknown slot is a
// fault of the template.
std::string expand(std::string_view pattern, const Slots& slots, Wording wording,
                   RandomStream& random);

}  // namespace geist::train
