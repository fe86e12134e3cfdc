#include "train/world_words.h"

#include <algorithm>
#include <vector>

#include "base/check.h"

namespace geist::train {
namespace {

constexpr std::string_view kFirst[] = {"Ba", "Da", "Fe", "Ga", "Ha", "Jo", "Ka", "Le", "Li", "Ma",
                                       "Mi", "Na", "Ne", "Or", "Pa", "Ra", "Ro", "Sa", "Ta", "Vi"};
constexpr std::string_view kLast[] = {"ba",  "den", "dra", "fin", "ko",  "la",  "len", "lo",
                                      "min", "na",  "nor", "ra",  "rin", "sha", "tan", "vo"};
constexpr std::string_view kPlaces[] = {
    "forest", "village", "harbour", "market", "castle", "garden",  "river", "mountain",
    "island", "school",  "farm",    "valley", "lake",   "library", "tower", "mill"};
constexpr std::string_view kColours[] = {"red",   "blue", "green",  "yellow", "black", "white",
                                         "brown", "grey", "purple", "orange", "pink",  "golden"};
constexpr std::string_view kAnimals[] = {"cat",  "dog",   "fox",  "crow", "horse", "goat",
                                         "duck", "mouse", "bear", "frog", "hen",   "sheep"};
constexpr std::string_view kFoods[] = {"apples", "pears",   "plums", "nuts",    "eggs",  "cakes",
                                       "beans",  "berries", "figs",  "carrots", "rolls", "melons"};
constexpr std::string_view kThings[] = {"lamp", "key",  "book", "drum", "boat", "hat",
                                        "bell", "kite", "map",  "ring", "cup",  "coat"};
constexpr std::string_view kJobs[] = {"baker",  "farmer", "teacher", "sailor", "doctor", "painter",
                                      "miller", "hunter", "singer",  "tailor", "guard",  "weaver"};
constexpr std::string_view kTraits[] = {"kind",  "brave", "shy",    "clever",  "quiet",   "merry",
                                        "proud", "lazy",  "gentle", "curious", "patient", "bold"};

constexpr std::string_view kWeathers[] = {"rain", "sun", "snow", "wind", "fog", "frost"};

// The choices of a group for a wording.
std::vector<std::string_view> choices_of(std::string_view group, Wording wording) {
  const size_t bar = group.find("||");
  if (bar != std::string_view::npos)
    group = wording == Wording::kCommon ? group.substr(0, bar) : group.substr(bar + 2);
  std::vector<std::string_view> choices;
  for (size_t begin = 0; begin <= group.size();) {
    const size_t next = std::min(group.find('|', begin), group.size());
    choices.push_back(group.substr(begin, next - begin));
    begin = next + 1;
  }
  return choices;
}

}  // namespace

WordList first_syllables() { return kFirst; }
WordList last_syllables() { return kLast; }
WordList places() { return kPlaces; }
WordList colours() { return kColours; }
WordList animals() { return kAnimals; }
WordList foods() { return kFoods; }
WordList things() { return kThings; }
WordList jobs() { return kJobs; }
WordList traits() { return kTraits; }
WordList weathers() { return kWeathers; }

std::string pick(WordList words, RandomStream& random) {
  return std::string(words[random.next_below(words.size())]);
}

std::string pick_name(RandomStream& random) {
  std::string name = pick(first_syllables(), random);
  return name + pick(last_syllables(), random);
}

std::string expand(std::string_view pattern, const Slots& slots, Wording wording,
                   RandomStream& random) {
  std::string out;
  for (size_t i = 0; i < pattern.size();) {
    if (pattern[i] == '{') {
      const size_t end = pattern.find('}', i);
      GEIST_CHECK(end != std::string_view::npos);
      const auto choices = choices_of(pattern.substr(i + 1, end - i - 1), wording);
      out += expand(choices[random.next_below(choices.size())], slots, wording, random);
      i = end + 1;
    } else if (pattern[i] == '$') {
      size_t end = i + 1;
      const auto letter = [&](size_t k) {
        return k < pattern.size() && (pattern[k] | 32) >= 'a' && (pattern[k] | 32) <= 'z';
      };
      while (letter(end)) ++end;
      std::string name(pattern.substr(i + 1, end - i - 1));
      GEIST_CHECK(!name.empty());
      const bool capital = name[0] < 'a';
      name[0] = static_cast<char>(name[0] | 32);
      const auto slot = slots.find(name);
      GEIST_CHECK(slot != slots.end());
      std::string text = slot->second;
      if (capital && text[0] >= 'a' && text[0] <= 'z') text[0] = static_cast<char>(text[0] - 32);
      out += text;
      i = end;
    } else {
      out += pattern[i++];
    }
  }
  return out;
}

}  // namespace geist::train
