// Calls of tools: the system prompt describes two or three, the user wants what one of them does,
// or what none of them does.
#include <algorithm>
#include <nlohmann/json.hpp>

#include "train/world_skills.h"
#include "train/world_words.h"

namespace geist::train {
namespace {

using Json = nlohmann::ordered_json;

struct Parameter {
  std::string_view name, kind;  // kind: which words, or "number"
};

struct Tool {
  std::string_view name, description, ask;  // ask: a template over the parameters
  std::vector<Parameter> parameters;
};

const std::vector<Tool>& tools() {
  static const std::vector<Tool> table = {
      {"get_weather",
       "Tells the weather at a place.",
       "{What is the weather at the $place?|Is it raining at the $place?|How is the weather at the "
       "$place today?}",
       {{"place", "place"}}},
      {"set_timer",
       "Sets a timer.",
       "{Set a timer for $minutes minutes.|Wake me in $minutes minutes.|Start a timer of $minutes "
       "minutes.}",
       {{"minutes", "number"}}},
      {"send_message",
       "Sends a message to a person.",
       "{Send a message to $to that says: $text.|Write to $to: $text.|Tell $to this: $text.}",
       {{"to", "name"}, {"text", "text"}}},
      {"buy",
       "Buys some food.",
       "{Buy $count $food.|Please order $count $food.|I need $count $food, get them for me.}",
       {{"food", "food"}, {"count", "number"}}},
      {"find_person",
       "Finds where a person is.",
       "{Where is $name now?|Find $name for me.|Can you find $name?}",
       {{"name", "name"}}},
      {"paint",
       "Paints a thing in a colour.",
       "{Paint the $thing $colour.|Make the $thing $colour.|I want the $thing to be $colour.}",
       {{"thing", "thing"}, {"colour", "colour"}}},
      {"feed",
       "Feeds an animal.",
       "{Feed the $animal.|The $animal is hungry, give it food.|Give the $animal something to "
       "eat.}",
       {{"animal", "animal"}}},
      {"play_song",
       "Plays a song about something.",
       "{Play a song about a $topic.|I want to hear a song about a $topic.}",
       {{"topic", "thing"}}},
  };
  return table;
}

std::string draw_value(std::string_view kind, RandomStream& random) {
  if (kind == "number") return std::to_string(2 + random.next_below(58));
  if (kind == "name") return pick_name(random);
  if (kind == "place") return pick(places(), random);
  if (kind == "food") return pick(foods(), random);
  if (kind == "colour") return pick(colours(), random);
  if (kind == "animal") return pick(animals(), random);
  if (kind == "text")
    return expand(
        "{the $thing is by the $place|bring the $thing to the $place|the $animal is hungry}",
        {{"thing", pick(things(), random)},
         {"place", pick(places(), random)},
         {"animal", pick(animals(), random)}},
        random);
  return pick(things(), random);
}

Json describe(const Tool& tool) {
  Json properties = Json::object(), required = Json::array();
  for (const Parameter& parameter : tool.parameters) {
    properties[std::string(parameter.name)] = {
        {"type", parameter.kind == "number" ? "integer" : "string"}};
    required.push_back(parameter.name);
  }
  return {
      {"type", "function"},
      {"function",
       {{"name", tool.name},
        {"description", tool.description},
        {"parameters", {{"type", "object"}, {"properties", properties}, {"required", required}}}}}};
}

struct Request {
  size_t tool;
  std::string ask;
  Json arguments = Json::object(), other_arguments = Json::object();
  std::string key;
};

Request draw_request(Split split, RandomStream& random) {
  for (;;) {
    Request request;
    request.tool = random.next_below(tools().size());
    const Tool& tool = tools()[request.tool];
    Slots slots;
    for (const Parameter& parameter : tool.parameters) {
      const std::string name(parameter.name), value = draw_value(parameter.kind, random);
      std::string other = draw_value(parameter.kind, random);
      while (other == value) other = draw_value(parameter.kind, random);
      slots[name] = value;
      const auto typed = [&](const std::string& v) {
        return parameter.kind == "number" ? Json(std::stoi(v)) : Json(v);
      };
      request.arguments[name] = typed(value);
      request.other_arguments[name] = typed(other);
    }
    request.key = "call " + std::string(tool.name) + " " + request.arguments.dump();
    if (split_of(request.key) != split) continue;
    request.ask = expand(tool.ask, slots, random);
    return request;
  }
}

// Two or three different tools in some order: with `wanted` among them or without it.
std::string draw_list(size_t wanted, bool with, RandomStream& random) {
  std::vector<size_t> chosen;
  if (with) chosen.push_back(wanted);
  const size_t count = 2 + random.next_below(2);
  while (chosen.size() < count) {
    const size_t tool = random.next_below(tools().size());
    if (tool != wanted && std::find(chosen.begin(), chosen.end(), tool) == chosen.end())
      chosen.push_back(tool);
  }
  std::swap(chosen[0], chosen[random.next_below(chosen.size())]);
  Json list = Json::array();
  for (const size_t tool : chosen) list.push_back(describe(tools()[tool]));
  return list.dump();
}

// With spaces behind commas and colons, as chat templates print JSON.
std::string call_text(std::string_view name, const Json& arguments) {
  std::string out = "<tool_call>{\"name\": \"" + std::string(name) + "\", \"arguments\": {";
  bool first = true;
  for (const auto& [key, value] : arguments.items()) {
    out += (first ? "\"" : ", \"") + key + "\": " + value.dump();
    first = false;
  }
  return out + "}}</tool_call>";
}

constexpr std::string_view kNoTool = "I have no tool for that.";

}  // namespace

Problem make_tool_call(Split split, RandomStream& random) {
  const Request request = draw_request(split, random);
  const Tool& tool = tools()[request.tool];
  Problem p;
  p.skill = Skill::kTool;
  p.keys = {request.key};
  p.tools = draw_list(request.tool, true, random);
  p.prompt = request.ask;
  p.answer = call_text(tool.name, request.arguments);
  switch (random.next_below(3)) {
    case 0:
      p.worse = call_text(tool.name, request.other_arguments);
      break;
    case 1:
      p.worse = kNoTool;
      break;
    default:
      p.worse = "I have done it.";
  }
  p.check =
      Json{{"kind", "tool_call"}, {"name", tool.name}, {"arguments", request.arguments}}.dump();
  return p;
}

Problem make_no_tool(Split split, RandomStream& random) {
  const Request request = draw_request(split, random);
  Problem p;
  p.skill = Skill::kNoTool;
  p.keys = {request.key};
  p.tools = draw_list(request.tool, false, random);
  p.prompt = request.ask;
  p.answer = kNoTool;
  p.worse = random.next_below(2) == 0 ? call_text(tools()[request.tool].name, request.arguments)
                                      : std::string("I have done it.");
  p.check = Json{{"kind", "exact"}, {"value", kNoTool}}.dump();
  return p;
}

}  // namespace geist::train
