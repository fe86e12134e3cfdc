// Answers in a wanted form: what the user asks for, and what a system message rules.
#include <algorithm>
#include <nlohmann/json.hpp>

#include "train/world_skills.h"

namespace geist::train {
namespace {

std::string upper(std::string text) {
  for (char& c : text)
    if (c >= 'a' && c <= 'z') c = static_cast<char>(c - 32);
  return text;
}

std::string join(const std::vector<std::string>& words, std::string_view between,
                 std::string_view around = "") {
  std::string text;
  for (const std::string& word : words) {
    if (!text.empty()) text += between;
    text += std::string(around) + word + std::string(around);
  }
  return text;
}

std::string pick_word(RandomStream& random) {
  const WordList lists[] = {places(), colours(), animals(), foods(), things(), jobs()};
  return pick(lists[random.next_below(std::size(lists))], random);
}

// Two to four different words of one kind.
std::vector<std::string> pick_words(RandomStream& random) {
  const WordList lists[] = {places(), colours(), animals(), foods(), things(), jobs()};
  const WordList list = lists[random.next_below(std::size(lists))];
  std::vector<std::string> words;
  const size_t count = 2 + random.next_below(3);
  while (words.size() < count) {
    std::string word = pick(list, random);
    if (std::find(words.begin(), words.end(), word) == words.end()) words.push_back(word);
  }
  return words;
}

struct Form {
  std::string_view name, ask;
  std::string (*answer)(const std::vector<std::string>& words);
};

const Form kForms[] = {
    {"upper",
     "{Write in capital letters:|Put this in upper case:|All in capitals:|Make the letters "
     "big:||Use big letters only:} ",
     [](const auto& words) { return upper(join(words, ", ")); }},
    {"dashes",
     "{Write as a list with dashes:|Make a list, a dash before each word:|One word a line, each "
     "with a "
     "dash:|Give me these with dashes:||Put each word on a line behind a dash:} ",
     [](const auto& words) { return "- " + join(words, "\n- "); }},
    {"json",
     "{Write as a JSON list:|Give me a JSON list of these words:|As JSON:|Make it a list in "
     "JSON:||Turn this into JSON:} ",
     [](const auto& words) { return "[" + join(words, ", ", "\"") + "]"; }},
    {"reverse",
     "{Write the words in reverse order:|Turn the order of the words round:|Reverse this:|From the "
     "last to the first:||Say the words backwards:} ",
     [](const auto& words) {
       return join({words.rbegin(), words.rend()}, ", ");
     }},
    {"count",
     "{Answer with a number only. How many words are there?|How many words? Give only the "
     "number:|How "
     "many are these?|The number of words, please:||Count the words, say only the number:} ",
     [](const auto& words) { return std::to_string(words.size()); }},
    {"first",
     "{Answer in one word. Which word is first?|Give only the first word:|Which one comes "
     "first?|Just the first of these:||Name the first word and no more:} ",
     [](const auto& words) { return words.front(); }},
    {"last",
     "{Answer in one word. Which word is last?|Give only the last word:|Which one comes last?|Just "
     "the last of these:||Name the last word and no more:} ",
     [](const auto& words) { return words.back(); }},
    {"twice",
     "{Say it twice:|Write this two times:|Two times, please:|Say it and say it again:||Repeat "
     "this, "
     "so that it is there twice:} ",
     [](const auto& words) { return join(words, ", ") + ", " + join(words, ", "); }},
    {"spaces",
     "{Write with spaces and without commas:|Take the commas out:|No commas:|Only spaces between "
     "the words:||Leave out the commas:} ",
     [](const auto& words) { return join(words, " "); }},
};

// What a system message asks for: of_rule is the word or the name that the rule itself has.
struct Rule {
  std::string_view name, text;
  std::string (*apply)(const std::string& word, const std::string& of_rule);
};

const Rule kRules[] = {
    {"upper",
     "{Answer in capital letters.|Use capital letters.|All your answers are in capitals.|Make your "
     "letters big.||Write big letters only.}",
     [](const std::string& word, const std::string&) { return upper(word); }},
    {"twice",
     "{Say every answer twice.|Give each answer two times.|Two times, always.|Whatever you say, "
     "say it "
     "again.||Repeat every answer once.}",
     [](const std::string& word, const std::string&) { return word + " " + word; }},
    {"end",
     "{End every answer with the word $rule.|Your answers end with the word $rule.|The last word "
     "is "
     "always $rule.|Close each answer with $rule.||After each answer say $rule.}",
     [](const std::string& word, const std::string& of_rule) { return word + " " + of_rule; }},
    {"begin",
     "{Begin every answer with the word $rule.|Your answers begin with the word $rule.|The first "
     "word "
     "is always $rule.|Open each answer with $rule.||Before each answer say $rule.}",
     [](const std::string& word, const std::string& of_rule) { return of_rule + " " + word; }},
    {"brackets",
     "{Put every answer in brackets.|Write answers in brackets.|Use brackets round your "
     "answers.|Brackets, always.||Each answer stands in brackets.}",
     [](const std::string& word, const std::string&) { return "(" + word + ")"; }},
    {"name",
     "{You are $name. Put your name before each answer.|Your name is $name. Say it before each "
     "answer.|I call you $name. Begin with your name.|$name is your name, and it comes before "
     "every "
     "answer.||They call you $name. Each answer starts with your name.}",
     [](const std::string& word, const std::string& of_rule) { return of_rule + ": " + word; }},
};

std::string say(const std::string& word, Split split, RandomStream& random) {
  return expand(
      "{Say the word $word.|Please say $word.|Say $word.|Can you say $word?||I want to "
      "hear the word $word.}",
      {{"word", word}}, wording_of(split), random);
}

}  // namespace

std::string check_of(std::string_view kind, const std::string& value) {
  return nlohmann::ordered_json{{"kind", kind}, {"value", value}}.dump();
}

Problem make_form(Split split, RandomStream& random) {
  const Form* form;
  std::vector<std::string> words;
  std::string key;
  do {
    form = &kForms[random.next_below(std::size(kForms))];
    words = pick_words(random);
    key = "form " + std::string(form->name) + " " + join(words, ", ");
  } while (split_of(key) != contents_of(split));
  Problem p;
  p.skill = Skill::kForm;
  p.keys = {key};
  const std::string plain = join(words, ", ");
  p.messages = {{"user", expand(form->ask, {}, wording_of(split), random) + plain}};
  p.answer = form->answer(words);
  p.worse = random.next_below(2) == 0 ? "Here you are: " + p.answer : plain;
  p.check = check_of("exact", p.answer);
  return p;
}

std::string write_recall(RandomStream& random) {
  std::vector<std::string> pairs, used;
  const auto fresh = [&](std::string (*draw)(RandomStream&)) {
    for (;;) {
      std::string word = draw(random);
      if (std::find(used.begin(), used.end(), word) != used.end()) continue;
      used.push_back(word);
      return word;
    }
  };
  const size_t count = 3 + random.next_below(6);
  while (pairs.size() < count) {
    const std::string name = fresh(pick_name);
    pairs.push_back(name + " " + fresh(pick_word));
  }
  std::string document;
  for (int pass = 0; pass < 4; ++pass) {
    shuffle(pairs, random);
    document += join(pairs, ", ") + "\n";
  }
  return document;
}

// One or two turns under a rule; the last one is graded.
Problem make_system(Split split, RandomStream& random) {
  const Rule* rule;
  std::string word, of_rule;
  const auto key = [&](const std::string& said) {
    return "rule " + std::string(rule->name) + " " + of_rule + " " + said;
  };
  do {
    rule = &kRules[random.next_below(std::size(kRules))];
    word = pick_word(random);
    of_rule = rule->name == "name"                             ? pick_name(random)
              : rule->text.find('$') != std::string_view::npos ? pick_word(random)
                                                               : "";
  } while (split_of(key(word)) != contents_of(split) || word == of_rule);
  Problem p;
  p.skill = Skill::kSystem;
  p.keys = {key(word)};
  p.messages = {{"system", expand(rule->text, {{"rule", of_rule}, {"name", of_rule}},
                                  wording_of(split), random)}};
  if (random.next_below(2) == 0) {
    const std::string before = pick_word(random);
    if (split_of(key(before)) == contents_of(split)) {
      p.keys.push_back(key(before));
      p.messages.push_back({"user", say(before, split, random)});
      p.messages.push_back({"assistant", rule->apply(before, of_rule)});
    }
  }
  p.messages.push_back({"user", say(word, split, random)});
  p.answer = rule->apply(word, of_rule);
  p.worse = word;
  p.check = check_of("exact", p.answer);
  return p;
}

}  // namespace geist::train
