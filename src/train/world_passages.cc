// Questions on a passage: one fact a person, all of one attribute, so that a reader must look at
// the name. Some cannot be answered; some come second and lean on the first.
#include <algorithm>
#include <nlohmann/json.hpp>

#include "train/world_skills.h"

namespace geist::train {
namespace {

using Json = nlohmann::ordered_json;

struct Attribute {
  std::string_view name, sentence, question, answer;
};

// Answers begin with no name: at the beginning of a line a name is cut into other tokens than
// behind a space, and copying it would be a lesson of its own. They name the person before the
// value, as the sentences do.
constexpr Attribute kAttributes[] = {
    {"place",
     "{$name lives near the $value.|The home of $name is near the $value.||Near the $value lives "
     "$name.}",
     "{Where does $name live?|Which place does $name live near?|Where is the home of $name?|Where "
     "can I find $name?|Tell me where $name lives.||Near what is the home of $name?}",
     "The home of $name is near the $value."},
    {"job",
     "{$name works as a $value.|The work of $name is that of a $value.||As for work, $name is a "
     "$value.}",
     "{What is the job of $name?|What work does $name do?|What does $name work as?|What is $name "
     "by "
     "trade?|Tell me the job of $name.||How does $name earn a living?}",
     "The work of $name is that of a $value."},
    {"pet",
     "{$name has a pet $value.|The pet of $name is a $value.||A $value is the pet of $name.}",
     "{What pet does $name have?|Which animal is the pet of $name?|What is the pet of $name?|What "
     "animal does $name keep?|Tell me which pet $name has.||What animal lives with $name?}",
     "The pet of $name is a $value."},
    {"thing",
     "{$name owns a $value.|The thing of $name is a $value.||There is a $value that $name owns.}",
     "{What does $name own?|Which thing belongs to $name?|What is the thing of $name?|What can "
     "$name "
     "call their own?|Tell me what $name owns.||What is the thing that $name owns?}",
     "The thing of $name is a $value."}};

constexpr std::string_view kNotSaid = "The text does not say.";

const Attribute& draw_attribute(RandomStream& random) {
  return kAttributes[random.next_below(std::size(kAttributes))];
}

WordList values_of(const Attribute& attribute) {
  if (attribute.name == "place") return places();
  if (attribute.name == "job") return jobs();
  return attribute.name == "pet" ? animals() : things();
}

struct Fact {
  std::string name;
  const Attribute* attribute;
  std::string value;

  std::string key() const {
    return "fact " + name + " " + std::string(attribute->name) + " " + value;
  }
  Slots slots() const { return {{"name", name}, {"value", value}}; }
  std::string answer(RandomStream& random) const {
    return expand(attribute->answer, slots(), Wording::kCommon, random);
  }
};

// The name is drawn anew with the value: of some names no value is held out.
Fact draw_fact(const Attribute& attribute, Split split, RandomStream& random) {
  for (;;) {
    Fact fact{pick_name(random), &attribute, pick(values_of(attribute), random)};
    if (split_of(fact.key()) == contents_of(split)) return fact;
  }
}

struct Passage {
  std::vector<Fact> facts;  // different people, different values
  std::string text;
  std::vector<std::string> keys;
};

// Facts of a passage that is asked about once or twice.
size_t draw_count(RandomStream& random) { return 2 + random.next_below(3); }

bool has_name(const Passage& passage, std::string_view name) {
  return std::any_of(passage.facts.begin(), passage.facts.end(),
                     [&](const Fact& f) { return f.name == name; });
}

bool has_value(const Passage& passage, std::string_view value) {
  return std::any_of(passage.facts.begin(), passage.facts.end(),
                     [&](const Fact& f) { return f.value == value; });
}

Passage draw_passage(const Attribute& attribute, size_t count, Split split, RandomStream& random) {
  Passage passage;
  while (passage.facts.size() < count) {
    Fact fact = draw_fact(attribute, split, random);
    if (has_name(passage, fact.name) || has_value(passage, fact.value)) continue;
    passage.text += (passage.text.empty() ? "" : " ") +
                    expand(attribute.sentence, fact.slots(), wording_of(split), random);
    passage.keys.push_back(fact.key());
    passage.facts.push_back(std::move(fact));
  }
  return passage;
}

std::string question(const std::string& name, const Attribute& attribute, Split split,
                     RandomStream& random) {
  return expand(attribute.question, {{"name", name}}, wording_of(split), random);
}

std::string asked(const Passage& passage, const std::string& q, Split split, RandomStream& random) {
  return expand("{Read this: |Here is a text: |The text: |Listen: |||Look at these lines: }", {},
                wording_of(split), random) +
         passage.text + "\n" + q;
}

std::string and_what_about(const std::string& name, Split split, RandomStream& random) {
  return expand(
      "{And $name?|What about $name?|And what of $name?|The same for $name?|Now $name.||How is it "
      "with $name?}",
      {{"name", name}}, wording_of(split), random);
}

// The value of one fact and none of the others'.
std::string check_fact(const Passage& passage, const Fact& fact) {
  Json others = Json::array();
  for (const Fact& f : passage.facts)
    if (f.value != fact.value) others.push_back(f.value);
  return Json{{"kind", "word"}, {"value", fact.value}, {"not", others}}.dump();
}

// Fills in the answer to a question on facts[which].
void answer_with(const Passage& passage, size_t which, RandomStream& random, Problem* p) {
  const Fact& fact = passage.facts[which];
  const Fact& other = passage.facts[(which + 1) % passage.facts.size()];
  p->answer = fact.answer(random);
  p->worse = random.next_below(2) == 0 ? Fact{fact.name, fact.attribute, other.value}.answer(random)
                                       : std::string(kNotSaid);
  p->check = check_fact(passage, fact);
}

// Another attribute of somebody who is there, or somebody who is not.
struct Unknown {
  std::string name;
  const Attribute* attribute;
};

Unknown draw_unknown(const Passage& passage, const Attribute& attribute, bool same_attribute,
                     Split split, RandomStream& random, Problem* p) {
  for (;;) {
    Unknown unknown{passage.facts[random.next_below(passage.facts.size())].name,
                    same_attribute ? &attribute : &draw_attribute(random)};
    if (unknown.attribute == &attribute) {
      unknown.name = pick_name(random);
      if (has_name(passage, unknown.name)) continue;
    }
    const std::string key = "unknown " + unknown.name + " " + std::string(unknown.attribute->name);
    if (split_of(key) != contents_of(split)) continue;
    p->keys.push_back(key);
    p->answer = kNotSaid;
    p->worse =
        Fact{unknown.name, unknown.attribute, pick(values_of(*unknown.attribute), random)}.answer(
            random);
    p->check = check_of("exact", p->answer);
    return unknown;
  }
}

}  // namespace

Problem make_lookup(Split split, RandomStream& random) {
  const Attribute& attribute = draw_attribute(random);
  const Passage passage = draw_passage(attribute, draw_count(random), split, random);
  const size_t which = random.next_below(passage.facts.size());
  Problem p;
  p.skill = Skill::kLookup;
  p.keys = passage.keys;
  const std::string q = question(passage.facts[which].name, attribute, split, random);
  p.messages = {{"user", asked(passage, q, split, random)}};
  answer_with(passage, which, random, &p);
  return p;
}

Problem make_unanswerable(Split split, RandomStream& random) {
  const Attribute& attribute = draw_attribute(random);
  const Passage passage = draw_passage(attribute, draw_count(random), split, random);
  Problem p;
  p.skill = Skill::kUnanswerable;
  p.keys = passage.keys;
  const Unknown unknown =
      draw_unknown(passage, attribute, random.next_below(2) == 0, split, random, &p);
  const std::string q = question(unknown.name, *unknown.attribute, split, random);
  p.messages = {{"user", asked(passage, q, split, random)}};
  return p;
}

// "And what about ...?": the attribute is that of the first question.
Problem make_follow_up(Split split, RandomStream& random) {
  const Attribute& attribute = draw_attribute(random);
  const Passage passage = draw_passage(attribute, draw_count(random), split, random);
  const size_t first = random.next_below(passage.facts.size());
  const size_t second =
      (first + 1 + random.next_below(passage.facts.size() - 1)) % passage.facts.size();
  Problem p;
  p.skill = Skill::kFollowUp;
  p.keys = passage.keys;
  const std::string q = question(passage.facts[first].name, attribute, split, random);
  p.messages = {{"user", asked(passage, q, split, random)},
                {"assistant", passage.facts[first].answer(random)}};
  std::string name = passage.facts[second].name;
  if (random.next_below(4) == 0)
    name = draw_unknown(passage, attribute, true, split, random, &p).name;
  else
    answer_with(passage, second, random, &p);
  p.messages.push_back({"user", and_what_about(name, split, random)});
  return p;
}

Problem make_quiz(Split split, RandomStream& random) {
  const Attribute& attribute = draw_attribute(random);
  Passage passage = draw_passage(attribute, 3 + random.next_below(4), split, random);
  const std::string text = passage.text;
  Problem p;
  p.skill = Skill::kFollowUp;
  p.keys = passage.keys;
  while (!passage.facts.empty()) {
    const size_t which = random.next_below(passage.facts.size());
    std::string name = passage.facts[which].name, answer;
    if (random.next_below(4) == 0) {
      Problem unknown;
      name = draw_unknown(passage, attribute, true, split, random, &unknown).name;
      answer = unknown.answer;
      p.keys.insert(p.keys.end(), unknown.keys.begin(), unknown.keys.end());
    } else {
      answer = passage.facts[which].answer(random);
      passage.facts.erase(passage.facts.begin() + static_cast<std::ptrdiff_t>(which));
    }
    const bool first = p.messages.empty();
    std::string q = first || random.next_below(2) == 0 ? question(name, attribute, split, random)
                                                       : and_what_about(name, split, random);
    if (first)
      q = asked({{}, text, {}}, q, split, random);
    else
      p.messages.push_back({"assistant", p.answer});
    p.messages.push_back({"user", q});
    p.answer = answer;
  }
  p.check = check_of("exact", p.answer);
  return p;
}

std::string write_retelling(Split split, RandomStream& random) {
  const Attribute& attribute = draw_attribute(random);
  Passage passage = draw_passage(attribute, 3 + random.next_below(4), split, random);
  std::string document;
  for (int pass = 0; pass < 3; ++pass) {
    document += expand("{Read this:|Here is a text:|The text:|Listen:||Look at these lines:}", {},
                       wording_of(split), random);
    shuffle(passage.facts, random);
    for (const Fact& fact : passage.facts)
      document += " " + expand(attribute.sentence, fact.slots(), wording_of(split), random);
    document += "\n";
  }
  return document;
}

}  // namespace geist::train
