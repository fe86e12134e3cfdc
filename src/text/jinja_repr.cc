// str() and repr() of every value, as Python prints them.
#include <string>

#include "text/jinja_format.h"
#include "text/jinja_text.h"

namespace geist::text::jinja {
namespace {

void append_items(Heap& heap, std::string& out, std::span<const Value> items) {
  bool first = true;
  for (const Value& item : items) {
    if (!first && !put(heap, out, ", ")) return;
    first = false;
    append_repr(heap, out, item);
    if (heap.failed()) return;
  }
}

void append_dict(Heap& heap, std::string& out, const Dict& dict) {
  out += '{';
  bool first = true;
  for (const auto& [key, value] : dict.items()) {
    if (!first && !put(heap, out, ", ")) return;
    first = false;
    append_repr(heap, out, key);
    if (!put(heap, out, ": ")) return;
    append_repr(heap, out, value);
  }
  out += '}';
}

void append_range(std::string& out, const List& range) {
  out += "range(" + std::to_string(range.range_start) + ", " + std::to_string(range.range_stop);
  if (range.range_step != 1) out += ", " + std::to_string(range.range_step);
  out += ')';
}

}  // namespace

void append_str(Heap& heap, std::string& out, const Value& value) {
  switch (value.kind()) {
    case Kind::kUndefined:
      return;
    case Kind::kString:
      put(heap, out, value.text());
      return;
    default:
      append_repr(heap, out, value);
  }
}

void append_repr(Heap& heap, std::string& out, const Value& value) {
  const Nesting nesting(heap);
  if (!nesting || !heap.spend(1)) return;
  switch (value.kind()) {
    case Kind::kUndefined:
      out += "Undefined";
      return;
    case Kind::kNone:
      out += "None";
      return;
    case Kind::kBool:
      out += value.boolean() ? "True" : "False";
      return;
    case Kind::kInt:
      out += std::to_string(value.integer());
      return;
    case Kind::kBigInt:
      put(heap, out, value.text());
      return;
    case Kind::kFloat:
      append_float(out, value.real());
      return;
    case Kind::kString: {
      std::string quoted;
      if (!heap.spend_bytes(value.text().size() * 2)) return;
      append_quoted(quoted, value.text());
      put(heap, out, quoted);
      return;
    }
    case Kind::kTuple:
      out += '(';
      append_items(heap, out, value.list().values());
      out += value.list().size == 1 ? ",)" : ")";
      return;
    case Kind::kRange:
      append_range(out, value.list());
      return;
    case Kind::kDictView:
      out += "dict_items([";
      append_items(heap, out, value.list().values());
      out += "])";
      return;
    case Kind::kList:
      out += '[';
      append_items(heap, out, value.list().values());
      out += ']';
      return;
    case Kind::kDict:
      append_dict(heap, out, value.dict());
      return;
    case Kind::kNamespace:
      out += "<Namespace ";
      append_dict(heap, out, value.dict());
      out += '>';
      return;
    case Kind::kGenerator:
    case Kind::kCallable:
    case Kind::kLoop:
      out.append("<").append(type_name(value)).append(">");
      return;
  }
}

Value to_string(Heap& heap, const Value& value) {
  if (value.is_string()) return value;
  std::string out;
  append_str(heap, out, value);
  return Value::string(heap.copy(out));
}

}  // namespace geist::text::jinja
