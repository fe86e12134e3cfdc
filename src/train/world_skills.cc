#include "train/world_skills.h"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "train/world_words.h"

namespace geist::train {
namespace {

using Json = nlohmann::ordered_json;

std::string check(std::string_view kind, const std::string& value) {
  return Json{{"kind", kind}, {"value", value}}.dump();
}

// ---- arithmetic: two to four steps of + - *, no intermediate result below 0 or above 999

struct Sum {
  std::string expression, steps, wrong_steps;
  int64_t value = 0, wrong_value = 0;
};

int64_t apply(char op, int64_t a, int64_t b) {
  return op == '+' ? a + b : op == '-' ? a - b : a * b;
}

Sum draw_sum(RandomStream& random) {
  const int steps = 2 + static_cast<int>(random.next_below(3));
  const int slip = static_cast<int>(random.next_below(static_cast<uint64_t>(steps)));
  Sum sum;
  sum.value = 2 + static_cast<int64_t>(random.next_below(48));
  sum.wrong_value = sum.value;
  sum.expression = std::to_string(sum.value);
  for (int i = 0; i < steps; ++i) {
    const char op = "++-*"[random.next_below(4)];
    int64_t other = 2 + static_cast<int64_t>(random.next_below(op == '*' ? 8 : 48));
    if (op == '-') other = std::min(other, std::max<int64_t>(sum.value - 1, 0));
    const int64_t next = apply(op, sum.value, other);
    if (next > 999 || other < 1) {
      --i;
      continue;
    }
    const std::string tail = std::string(" ") + op + " " + std::to_string(other) + " = ";
    sum.steps += std::to_string(sum.value) + tail + std::to_string(next) + "\n";
    int64_t wrong = apply(op, sum.wrong_value, other);
    if (i == slip) wrong += random.next_below(2) == 0 ? 1 : 10;
    sum.wrong_steps += std::to_string(sum.wrong_value) + tail + std::to_string(wrong) + "\n";
    // Steps run from the left: what comes before a product is put in brackets.
    if (op == '*' && i > 0) sum.expression = "(" + sum.expression + ")";
    sum.expression += std::string(" ") + op + " " + std::to_string(other);
    sum.value = next;
    sum.wrong_value = wrong;
  }
  return sum;
}

// ---- passages: one fact a person

struct Fact {
  std::string name, attribute, value;
  std::string key() const { return "fact " + name + " " + attribute + " " + value; }
};

constexpr std::string_view kAttributes[] = {"place", "job", "pet", "thing"};

WordList values_of(std::string_view attribute) {
  if (attribute == "place") return places();
  if (attribute == "job") return jobs();
  return attribute == "pet" ? animals() : things();
}

// The name is drawn anew with the value: of some names no value is held out.
Fact draw_fact(const std::string& attribute, Split split, RandomStream& random) {
  for (;;) {
    Fact fact{pick_name(random), attribute, pick(values_of(attribute), random)};
    if (split_of(fact.key()) == split) return fact;
  }
}

std::string sentence(const Fact& fact, RandomStream& random) {
  const Slots slots = {{"name", fact.name}, {"value", fact.value}};
  if (fact.attribute == "place")
    return expand("{$name lives near the $value.|The home of $name is near the $value.}", slots,
                  random);
  if (fact.attribute == "job")
    return expand("{$name works as a $value.|The work of $name is that of a $value.}", slots,
                  random);
  if (fact.attribute == "pet")
    return expand("{$name has a pet $value.|The pet of $name is a $value.}", slots, random);
  return expand("{$name owns a $value.|The $value belongs to $name.}", slots, random);
}

std::string question(const std::string& name, const std::string& attribute, RandomStream& random) {
  const Slots slots = {{"name", name}};
  if (attribute == "place")
    return expand("{Where does $name live?|Which place does $name live near?}", slots, random);
  if (attribute == "job")
    return expand("{What is the job of $name?|What work does $name do?}", slots, random);
  if (attribute == "pet")
    return expand("{What pet does $name have?|Which animal is the pet of $name?}", slots, random);
  return expand("{What does $name own?|Which thing belongs to $name?}", slots, random);
}

std::string full_answer(const Fact& fact) {
  if (fact.attribute == "place") return fact.name + " lives near the " + fact.value + ".";
  if (fact.attribute == "job") return fact.name + " works as a " + fact.value + ".";
  if (fact.attribute == "pet") return fact.name + " has a pet " + fact.value + ".";
  return fact.name + " owns a " + fact.value + ".";
}

struct Passage {
  std::vector<Fact> facts;  // of one attribute first; different people, different values
  std::string text;
  std::vector<std::string> keys;
};

bool among(const std::vector<Fact>& facts, const Fact& fact) {
  return std::any_of(facts.begin(), facts.end(),
                     [&](const Fact& f) { return f.name == fact.name || f.value == fact.value; });
}

// Some people with the same attribute, so that a reader must look at the name.
Passage draw_passage(const std::string& attribute, Split split, RandomStream& random) {
  Passage passage;
  const size_t count = 2 + random.next_below(3);
  while (passage.facts.size() < count) {
    Fact fact = draw_fact(attribute, split, random);
    if (among(passage.facts, fact)) continue;
    passage.text += (passage.text.empty() ? "" : " ") + sentence(fact, random);
    passage.keys.push_back(fact.key());
    passage.facts.push_back(std::move(fact));
  }
  return passage;
}

std::string asked(const Passage& passage, const std::string& q, RandomStream& random) {
  return expand("{Read this: |Here is a text: |}", {}, random) + passage.text + "\n" + q;
}

constexpr std::string_view kNotSaid = "The text does not say.";

}  // namespace

Problem make_arithmetic(Split split, RandomStream& random) {
  Sum sum;
  do {
    sum = draw_sum(random);
  } while (split_of("sum " + sum.expression) != split || sum.wrong_value == sum.value);
  Problem p;
  p.skill = Skill::kArithmetic;
  p.keys = {"sum " + sum.expression};
  p.prompt = expand("{What is $sum?|Work out $sum.|Calculate $sum step by step.}",
                    {{"sum", sum.expression}}, random);
  p.answer = sum.steps + "Answer: " + std::to_string(sum.value);
  p.worse = sum.wrong_steps + "Answer: " + std::to_string(sum.wrong_value);
  p.check = check("number", std::to_string(sum.value));
  return p;
}

Problem make_lookup(Split split, RandomStream& random) {
  const std::string attribute = pick(kAttributes, random);
  const Passage passage = draw_passage(attribute, split, random);
  const size_t which = random.next_below(passage.facts.size());
  const Fact& fact = passage.facts[which];
  const Fact& other = passage.facts[(which + 1) % passage.facts.size()];
  Problem p;
  p.skill = Skill::kLookup;
  p.keys = passage.keys;
  p.prompt = asked(passage, question(fact.name, attribute, random), random);
  p.answer = full_answer(fact);
  p.worse = random.next_below(2) == 0 ? full_answer({fact.name, attribute, other.value})
                                      : std::string(kNotSaid);
  Json others = Json::array();
  for (const Fact& f : passage.facts)
    if (f.value != fact.value) others.push_back(f.value);
  p.check = Json{{"kind", "word"}, {"value", fact.value}, {"not", others}}.dump();
  return p;
}

Problem make_unanswerable(Split split, RandomStream& random) {
  const std::string attribute = pick(kAttributes, random);
  const Passage passage = draw_passage(attribute, split, random);
  Problem p;
  p.skill = Skill::kUnanswerable;
  p.keys = passage.keys;
  // Another attribute of somebody who is there, or somebody who is not.
  std::string name = passage.facts[random.next_below(passage.facts.size())].name, wanted;
  do {
    wanted = pick(kAttributes, random);
    if (wanted == attribute) name = pick_name(random);
  } while ((wanted == attribute && among(passage.facts, {name, "", ""})) ||
           split_of("unknown " + name + " " + wanted) != split);
  p.keys.push_back("unknown " + name + " " + wanted);
  p.prompt = asked(passage, question(name, wanted, random), random);
  p.answer = kNotSaid;
  p.worse = full_answer({name, wanted, pick(values_of(wanted), random)});
  p.check = check("exact", p.answer);
  return p;
}

Problem make_form(Split split, RandomStream& random) {
  constexpr std::string_view kForms[] = {"upper", "dashes", "json",  "reverse", "count",
                                         "first", "last",   "twice", "commas"};
  const WordList lists[] = {places(), colours(), animals(), foods(), things(), jobs()};
  Problem p;
  p.skill = Skill::kForm;
  std::string form, joined, spaced;
  std::vector<std::string> words;
  do {
    form = pick(kForms, random);
    const WordList list = lists[random.next_below(std::size(lists))];
    words.clear();
    const size_t count = 2 + random.next_below(3);
    while (words.size() < count) {
      std::string word = pick(list, random);
      if (std::find(words.begin(), words.end(), word) == words.end()) words.push_back(word);
    }
    joined = spaced = "";
    for (const std::string& word : words) {
      joined += (joined.empty() ? "" : ", ") + word;
      spaced += (spaced.empty() ? "" : " ") + word;
    }
  } while (split_of("form " + form + " " + joined) != split);
  p.keys = {"form " + form + " " + joined};
  std::string ask;
  if (form == "upper") {
    ask = "{Write in capital letters:|Put this in upper case:} ";
    for (const char c : joined) p.answer += c >= 'a' && c <= 'z' ? static_cast<char>(c - 32) : c;
  } else if (form == "dashes") {
    ask = "{Write as a list with dashes:|Make a list, a dash before each word:} ";
    for (const std::string& word : words) p.answer += (p.answer.empty() ? "- " : "\n- ") + word;
  } else if (form == "json") {
    ask = "{Write as a JSON list:|Give me a JSON list of these words:} ";
    for (const std::string& word : words)
      p.answer += (p.answer.empty() ? "[\"" : ", \"") + word + "\"";
    p.answer += "]";
  } else if (form == "reverse") {
    ask = "{Write the words in reverse order:|Turn the order of the words round:} ";
    for (auto word = words.rbegin(); word != words.rend(); ++word)
      p.answer += (p.answer.empty() ? "" : ", ") + *word;
  } else if (form == "count") {
    ask =
        "{Answer with a number only. How many words are there?|How many words? Give only the "
        "number:} ";
    p.answer = std::to_string(words.size());
  } else if (form == "first" || form == "last") {
    ask = "Answer in one word. Which word is " + form + "? ";
    p.answer = form == "first" ? words.front() : words.back();
  } else if (form == "twice") {
    ask = "{Say it twice:|Write this two times:} ";
    p.answer = joined + ", " + joined;
  } else {
    ask = "{Write with spaces and without commas:|Take the commas out:} ";
    p.answer = spaced;
  }
  p.prompt = expand(ask, {}, random) + joined;
  p.worse = random.next_below(2) == 0 ? "Here you are: " + p.answer : joined;
  if (p.worse == p.answer) p.worse = "Sure! " + p.answer;
  p.check = check("exact", p.answer);
  return p;
}

}  // namespace geist::train
