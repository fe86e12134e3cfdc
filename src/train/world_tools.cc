// Calls of tools: the system prompt describes two or three, the user wants what one of them does,
// or what none of them does; and what to say when a tool has answered.
#include <algorithm>
#include <nlohmann/json.hpp>

#include "train/world_skills.h"

namespace geist::train {
namespace {

using Json = nlohmann::ordered_json;

struct Parameter {
  std::string_view name, kind;  // kind: which words, or "number"
};

struct Tool {
  std::string_view name, description, ask;  // ask: a template over the parameters
  std::vector<Parameter> parameters;
  std::string_view result, result_kind;  // the key of what it gives, and which words; or "ok"
  std::string_view report;               // over the parameters and $result
};

const std::vector<Tool>& tools() {
  static const std::vector<Tool> table = {
      {"get_weather",
       "Tells the weather at a place.",
       "{What is the weather at the $place?|Is it raining at the $place?|How is the weather at the "
       "$place today?||Do I need a coat at the $place?|Tell me the weather at the $place.}",
       {{"place", "place"}},
       "weather",
       "weather",
       "The weather at the $place is $result."},
      {"set_timer",
       "Sets a timer.",
       "{Set a timer for $minutes minutes.|Wake me in $minutes minutes.|Start a timer of $minutes "
       "minutes.|Tell me when $minutes minutes are over.|A timer please, $minutes minutes.||Ring "
       "when $minutes minutes have passed.}",
       {{"minutes", "number"}},
       "ok",
       "",
       "The timer is set for $minutes minutes."},
      {"send_message",
       "Sends a message to a person.",
       "{Send a message to $to that says: $text.|Write to $to: $text.|Tell $to this: $text.|A "
       "message for $to: $text.|Please let this get to $to: $text.||Let $to know: $text.}",
       {{"to", "name"}, {"text", "text"}},
       "ok",
       "",
       "I have told $to."},
      {"buy",
       "Buys some food.",
       "{Buy $count $food.|Please order $count $food.|I need $count $food, get them for me.|We are "
       "out of $food, order $count.|Put $count $food on the list and buy them.||Go and get me "
       "$count "
       "$food.}",
       {{"food", "food"}, {"count", "number"}},
       "price",
       "number",
       "I have bought $count $food for $result coins."},
      {"find_person",
       "Finds where a person is.",
       "{Where is $name now?|Find $name for me.|Can you find $name?|Do you know where $name "
       "is?|Look "
       "for $name.||I am looking for $name.}",
       {{"name", "name"}},
       "place",
       "place",
       "I found $name at the $result."},
      {"paint",
       "Paints a thing in a colour.",
       "{Paint the $thing $colour.|Make the $thing $colour.|I want the $thing to be $colour.|Give "
       "the "
       "$thing a $colour coat.|$colour paint for the $thing, please.||The $thing should become "
       "$colour.}",
       {{"thing", "thing"}, {"colour", "colour"}},
       "ok",
       "",
       "The $thing is $colour now."},
      {"feed",
       "Feeds an animal.",
       "{Feed the $animal.|The $animal is hungry, give it food.|Give the $animal something to "
       "eat.|Food for the $animal, please.|Please see that the $animal eats.||The $animal wants to "
       "eat.}",
       {{"animal", "animal"}},
       "ok",
       "",
       "The $animal has eaten."},
      {"play_song",
       "Plays a song about something.",
       "{Play a song about a $topic.|I want to hear a song about a $topic.|Sing of a $topic.|Music "
       "about a $topic, please.||Put on some music about a $topic.}",
       {{"topic", "thing"}},
       "singer",
       "name",
       "Now you hear a song about a $topic by $result."},
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
  if (kind == "weather") return pick(weathers(), random);
  if (kind == "text")
    return expand(
        "{the $thing is by the $place|bring the $thing to the $place|the $animal is hungry}",
        {{"thing", pick(things(), random)},
         {"place", pick(places(), random)},
         {"animal", pick(animals(), random)}},
        Wording::kCommon, random);
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

// With spaces behind commas and colons, as chat templates print JSON.
std::string spaced(const Json& object) {
  std::string out = "{";
  for (const auto& [key, value] : object.items())
    out += (out.size() == 1 ? "\"" : ", \"") + key + "\": " + value.dump();
  return out + "}";
}

struct Request {
  size_t tool;
  std::string ask, key;
  Slots slots;
  Json arguments = Json::object(), other_arguments = Json::object();

  ToolCall call() const { return {std::string(tools()[tool].name), spaced(arguments)}; }
  ToolCall other_call() const { return {std::string(tools()[tool].name), spaced(other_arguments)}; }
};

Request draw_request(Split split, RandomStream& random) {
  for (;;) {
    Request request;
    request.tool = random.next_below(tools().size());
    const Tool& tool = tools()[request.tool];
    for (const Parameter& parameter : tool.parameters) {
      const std::string name(parameter.name), value = draw_value(parameter.kind, random);
      std::string other = draw_value(parameter.kind, random);
      while (other == value) other = draw_value(parameter.kind, random);
      request.slots[name] = value;
      const auto typed = [&](const std::string& v) {
        return parameter.kind == "number" ? Json(std::stoi(v)) : Json(v);
      };
      request.arguments[name] = typed(value);
      request.other_arguments[name] = typed(other);
    }
    request.key = "call " + std::string(tool.name) + " " + request.arguments.dump();
    if (split_of(request.key) != contents_of(split)) continue;
    request.ask = expand(tool.ask, request.slots, wording_of(split), random);
    return request;
  }
}

// One that a tool of the list serves, or none of them does.
Request draw_request(const std::vector<size_t>& list, bool served, Split split,
                     RandomStream& random) {
  for (;;) {
    Request request = draw_request(split, random);
    if ((std::find(list.begin(), list.end(), request.tool) != list.end()) == served) return request;
  }
}

// Two or three different tools in some order: with `wanted` among them or without it.
std::vector<size_t> draw_tools(size_t wanted, bool with, RandomStream& random) {
  std::vector<size_t> chosen;
  if (with) chosen.push_back(wanted);
  const size_t count = 2 + random.next_below(2);
  while (chosen.size() < count) {
    const size_t tool = random.next_below(tools().size());
    if (tool != wanted && std::find(chosen.begin(), chosen.end(), tool) == chosen.end())
      chosen.push_back(tool);
  }
  std::swap(chosen[0], chosen[random.next_below(chosen.size())]);
  return chosen;
}

std::string describe_all(const std::vector<size_t>& chosen) {
  Json list = Json::array();
  for (const size_t tool : chosen) list.push_back(describe(tools()[tool]));
  return list.dump();
}

std::string draw_list(size_t wanted, bool with, RandomStream& random) {
  return describe_all(draw_tools(wanted, with, random));
}

constexpr std::string_view kNoTool = "I have no tool for that.";
constexpr std::string_view kDone = "I have done it.";

}  // namespace

std::string call_text(const ToolCall& call) {
  return "<tool_call>{\"name\": \"" + call.name + "\", \"arguments\": " + call.arguments +
         "}</tool_call>";
}

Problem make_tool_call(Split split, RandomStream& random) {
  const Request request = draw_request(split, random);
  Problem p;
  p.skill = Skill::kTool;
  p.keys = {request.key};
  p.tools = draw_list(request.tool, true, random);
  p.messages = {{"user", request.ask}};
  p.calls = {request.call()};
  p.answer = call_text(p.calls[0]);
  const std::string worse[] = {call_text(request.other_call()), std::string(kNoTool),
                               std::string(kDone)};
  p.worse = worse[random.next_below(std::size(worse))];
  p.check = Json{{"kind", "tool_call"}, {"name", p.calls[0].name}, {"arguments", request.arguments}}
                .dump();
  return p;
}

Problem make_no_tool(Split split, RandomStream& random) {
  const Request request = draw_request(split, random);
  Problem p;
  p.skill = Skill::kNoTool;
  p.keys = {request.key};
  p.tools = draw_list(request.tool, false, random);
  p.messages = {{"user", request.ask}};
  p.answer = kNoTool;
  p.worse = random.next_below(2) == 0 ? call_text(request.call()) : std::string(kDone);
  p.check = check_of("exact", p.answer);
  return p;
}

Problem make_tool_quiz(Split split, RandomStream& random) {
  const std::vector<size_t> list = draw_tools(random.next_below(tools().size()), true, random);
  Problem p;
  p.skill = Skill::kNoTool;
  p.tools = describe_all(list);
  for (int i = 0; i < 4; ++i) {
    const bool served = random.next_below(2) == 0;
    const Request request = draw_request(list, served, split, random);
    p.keys.push_back(request.key);
    if (i > 0) p.messages.push_back({"assistant", p.calls.empty() ? p.answer : "", p.calls});
    p.messages.push_back({"user", request.ask});
    p.calls.clear();
    if (served) p.calls = {request.call()};
    p.answer = served ? call_text(request.call()) : std::string(kNoTool);
  }
  p.check = check_of("exact", p.answer);
  return p;
}

std::string write_roll_call(Split split, RandomStream& random) {
  const std::vector<size_t> list = draw_tools(random.next_below(tools().size()), true, random);
  std::string document = "Tools:";
  for (const size_t tool : list) document += " " + std::string(tools()[tool].name);
  document += "\n";
  for (int i = 0; i < 8; ++i) {
    const bool served = random.next_below(2) == 0;
    const Request request = draw_request(list, served, split, random);
    document +=
        "Question: " + request.ask + "\nReply: " +
        (served ? "I use " + std::string(tools()[request.tool].name) + "." : std::string(kNoTool)) +
        "\n";
  }
  return document;
}

// The tool gave something, or it failed: both are said as they are.
Problem make_tool_result(Split split, RandomStream& random) {
  const Request request = draw_request(split, random);
  const Tool& tool = tools()[request.tool];
  const bool gives = tool.result != "ok", failed = random.next_below(4) == 0;
  Slots slots = request.slots;
  slots["result"] = gives ? draw_value(tool.result_kind, random) : "";
  Json result = {{std::string(tool.result), true}};
  if (gives && tool.result_kind == "number")
    result = {{std::string(tool.result), std::stoi(slots["result"])}};
  else if (gives)
    result = {{std::string(tool.result), slots["result"]}};
  const std::string fault = expand(
      "{the tool is busy|there is no answer|it is not allowed|nobody is there|it took too "
      "long||the "
      "line is dead}",
      {}, wording_of(split), random);
  if (failed) result = {{"error", fault}};
  const std::string right = expand(tool.report, slots, Wording::kCommon, random);
  const std::string wrong = "That did not work: " + fault + ".";
  Problem p;
  p.skill = Skill::kToolResult;
  p.keys = {request.key};
  p.tools = draw_list(request.tool, true, random);
  p.messages = {
      {"user", request.ask}, {"assistant", "", {request.call()}}, {"tool", spaced(result)}};
  p.answer = failed ? wrong : right;
  p.worse = failed ? right : random.next_below(2) == 0 ? wrong : call_text(request.call());
  p.check = check_of("exact", p.answer);
  return p;
}

}  // namespace geist::train
