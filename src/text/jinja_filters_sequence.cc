// Filters over sequences and mappings. What Jinja evaluates lazily is evaluated at once here, and
// returned as a generator, which is true even when empty and has no length.
#include <algorithm>

#include "text/jinja_interpreter.h"
#include "text/jinja_text.h"

namespace geist::text::jinja {
namespace {

using In = Interpreter;

Value fold_case(In& in, const Value& value, bool case_sensitive) {
  if (case_sensitive || !value.is_string()) return value;
  return Value::string(change_case(in.heap, value.text(), LetterCase::kLower));
}

// The value that sort, unique, min and groupby look at.
Value key_of(In& in, const Value& item, const Value& attribute, bool case_sensitive) {
  return fold_case(in, in.attribute_path(item, attribute), case_sensitive);
}

struct Keyed {
  Value key, item;
};

void sort_by_key(In& in, std::vector<Keyed>& items, bool reverse) {
  std::stable_sort(items.begin(), items.end(), [&](const Keyed& a, const Keyed& b) {
    return reverse ? less(in.heap, b.key, a.key) : less(in.heap, a.key, b.key);
  });
}

// The items with their keys. The vector is charged as heap memory would be.
std::vector<Keyed> keyed(In& in, const Value& sequence, const Value& attribute,
                         bool case_sensitive) {
  const auto items = iterate(in.heap, sequence);
  std::vector<Keyed> out;
  if (!in.heap.spend_bytes(items.size() * sizeof(Keyed))) return out;
  out.reserve(items.size());
  for (const Value& item : items) {
    if (!in.heap.spend(1)) break;
    out.push_back({key_of(in, item, attribute, case_sensitive), item});
  }
  return out;
}

Value list_of_items(In& in, const std::vector<Keyed>& items, Kind kind = Kind::kList) {
  const Value out = make_list(in.heap, {}, kind);
  for (const Keyed& entry : items) out.list().push(in.heap, entry.item);
  return out;
}

Value filter_length(In& in, const Value& self, const Arguments&) {
  return Value::integer(static_cast<int64_t>(length_of(in.heap, self)));
}

Value filter_list(In& in, const Value& self, const Arguments&) {
  return make_list(in.heap, iterate(in.heap, self));
}

Value filter_first(In& in, const Value& self, const Arguments&) {
  const auto items = iterate(in.heap, self);
  return items.empty() ? Value::undefined("the first of an empty sequence") : items.front();
}
Value filter_last(In& in, const Value& self, const Arguments&) {
  const auto items = iterate(in.heap, self);
  return items.empty() ? Value::undefined("the last of an empty sequence") : items.back();
}

Value filter_join(In& in, const Value& self, const Arguments& arguments) {
  const Parameters p(in.heap, "join", arguments, {"d", "attribute"});
  const Value separator = to_string(in.heap, p.get(0, Value::string({}))),
              path = p.get(1, Value::none());
  std::string out;
  bool first = true;
  for (const Value& item : iterate(in.heap, self)) {
    if (!first && !put(in.heap, out, separator.text())) return {};
    first = false;
    append_str(in.heap, out, in.attribute_path(item, path));
    if (!in.heap.spend(1)) return {};
  }
  return Value::string(in.heap.copy(out));
}

Value filter_reverse(In& in, const Value& self, const Arguments&) {
  if (self.is_string())
    return slice(in.heap, self, Value::none(), Value::none(), Value::integer(-1));
  const Value out = make_list(in.heap, iterate(in.heap, self), Kind::kGenerator);
  std::reverse(out.list().items, out.list().items + out.list().size);
  return out;
}

Value filter_items(In& in, const Value& self, const Arguments& arguments) {
  if (self.is_undefined()) return make_list(in.heap, {}, Kind::kGenerator);
  if (!self.is_dict())
    return in.heap.fail("items: a mapping is needed, not %s", type_name(self)), Value();
  return (*find_method(self, "items"))(in, self, arguments).as(Kind::kGenerator);
}

Value filter_sort(In& in, const Value& self, const Arguments& arguments) {
  const Parameters p(in.heap, "sort", arguments, {"reverse", "case_sensitive", "attribute"});
  const bool case_sensitive = p.boolean(1, false);
  const Value attribute = p.get(2, Value::none());
  std::vector<Keyed> items = keyed(in, self, Value::none(), true);
  for (Keyed& entry : items) {
    // "a,b" sorts by a, then by b.
    const std::string_view comma = ",";
    const Value paths = attribute.is_string() ? split(in.heap, attribute.text(), &comma, -1, false)
                                              : make_list(in.heap, {&attribute, 1});
    List* const keys = in.heap.make<List>();
    for (const Value& path : paths.list().values())
      keys->push(in.heap, key_of(in, entry.item, path, case_sensitive));
    entry.key = keys->size == 1 ? keys->items[0] : Value::of(Kind::kTuple, keys);
    if (!in.heap.spend(1)) return {};
  }
  sort_by_key(in, items, p.boolean(0, false));
  return list_of_items(in, items);
}

Value filter_dictsort(In& in, const Value& self, const Arguments& arguments) {
  const Parameters p(in.heap, "dictsort", arguments, {"case_sensitive", "by", "reverse"});
  if (!self.is_dict())
    return in.heap.fail("dictsort needs a dict, not %s", type_name(self)), Value();
  const std::string_view by = p.text(1, "key");
  if (by != "key" && by != "value")
    return in.heap.fail("dictsort sorts by 'key' or 'value'"), Value();
  const Value pairs = (*find_method(self, "items"))(in, self, {});
  std::vector<Keyed> items =
      keyed(in, pairs, Value::integer(by == "key" ? 0 : 1), p.boolean(0, false));
  sort_by_key(in, items, p.boolean(2, false));
  return list_of_items(in, items);
}

Value filter_unique(In& in, const Value& self, const Arguments& arguments) {
  const Parameters p(in.heap, "unique", arguments, {"case_sensitive", "attribute"});
  Dict* const seen = in.heap.make<Dict>();
  std::vector<Keyed> out;
  for (const Keyed& entry : keyed(in, self, p.get(1, Value::none()), p.boolean(0, false))) {
    if (seen->find(in.heap, entry.key) != nullptr) continue;
    seen->set(in.heap, entry.key, Value::none());
    if (in.heap.failed()) return {};
    out.push_back(entry);
  }
  return list_of_items(in, out, Kind::kGenerator);
}

template <bool kMax>
Value filter_extreme(In& in, const Value& self, const Arguments& arguments) {
  const Parameters p(in.heap, kMax ? "max" : "min", arguments, {"case_sensitive", "attribute"});
  const auto items = keyed(in, self, p.get(1, Value::none()), p.boolean(0, false));
  if (items.empty()) return Value::undefined("the extreme of an empty sequence");
  const Keyed* best = &items[0];
  for (const Keyed& entry : items) {
    if (kMax ? less(in.heap, best->key, entry.key) : less(in.heap, entry.key, best->key))
      best = &entry;
  }
  return best->item;
}

Value filter_sum(In& in, const Value& self, const Arguments& arguments) {
  const Parameters p(in.heap, "sum", arguments, {"attribute", "start"});
  const Value path = p.get(0, Value::none());
  Value total = p.get(1, Value::integer(0));
  for (const Value& item : iterate(in.heap, self)) {
    if (!in.heap.spend(1)) return {};
    total = apply_operator(in.heap, Operator::kAdd, total, in.attribute_path(item, path));
  }
  return total;
}

Value filter_groupby(In& in, const Value& self, const Arguments& arguments) {
  const Parameters p(in.heap, "groupby", arguments, {"attribute", "default", "case_sensitive"});
  if (!p.require(1)) return {};
  const bool case_sensitive = p.boolean(2, false);
  std::vector<Keyed> items = keyed(in, self, Value::none(), true);
  for (Keyed& entry : items) {
    const Value key = in.attribute_path(entry.item, p.get(0), p.get(1, Value::none()));
    const Value pair[2] = {key, entry.item};
    entry.item = make_list(in.heap, pair, Kind::kTuple);
    entry.key = fold_case(in, key, case_sensitive);
  }
  sort_by_key(in, items, false);
  const Value out = make_list(in.heap, {});
  for (size_t i = 0; i < items.size() && !in.heap.failed();) {
    const Value group = make_list(in.heap, {}), first = items[i].item, key = items[i].key;
    for (; i < items.size() && equals(in.heap, items[i].key, key) && !in.heap.failed(); ++i) {
      group.list().push(in.heap, items[i].item.list().items[1]);
    }
    if (in.heap.failed()) break;
    const Value pair[2] = {first.list().items[0], group};
    const Value named = make_list(in.heap, pair, Kind::kTuple);
    named.list().is_group = named.list().size == 2;
    out.list().push(in.heap, named);
  }
  return out;
}

Value filter_batch(In& in, const Value& self, const Arguments& arguments) {
  const Parameters p(in.heap, "batch", arguments, {"linecount", "fill_with"});
  const int64_t count = p.integer(0, 0);
  if (!p.require(1) || count < 1) return in.heap.fail("batch() needs a positive count"), Value();
  const Value out = make_list(in.heap, {}, Kind::kGenerator);
  Value row;
  for (const Value& item : iterate(in.heap, self)) {
    if (!in.heap.spend(1)) return {};
    if (row.is_undefined() || static_cast<int64_t>(row.list().size) == count) {
      row = make_list(in.heap, {});
      out.list().push(in.heap, row);
    }
    row.list().push(in.heap, item);
  }
  while (p.given(1) && !row.is_undefined() && static_cast<int64_t>(row.list().size) < count &&
         in.heap.spend(1)) {
    row.list().push(in.heap, p.get(1));
  }
  return out;
}

Value filter_slice(In& in, const Value& self, const Arguments& arguments) {
  const Parameters p(in.heap, "slice", arguments, {"slices", "fill_with"});
  const int64_t slices = p.integer(0, 0);
  if (!p.require(1) || slices < 1) return in.heap.fail("slice() needs a positive count"), Value();
  const auto items = iterate(in.heap, self);
  const size_t each = items.size() / static_cast<size_t>(slices),
               extra = items.size() % static_cast<size_t>(slices);
  const Value out = make_list(in.heap, {}, Kind::kGenerator);
  size_t at = 0;
  for (size_t i = 0; i < static_cast<size_t>(slices) && in.heap.spend(4); ++i) {
    const size_t size = each + (i < extra ? 1 : 0);
    const Value row = make_list(in.heap, items.subspan(at, size));
    if (p.given(1) && i >= extra) row.list().push(in.heap, p.get(1));
    out.list().push(in.heap, row);
    at += size;
  }
  return out;
}

Value filter_map(In& in, const Value& self, const Arguments& arguments) {
  const Value out = make_list(in.heap, {}, Kind::kGenerator);
  if (!truthy(self)) return out;
  const Value* const attribute = arguments.find("attribute");
  const Value* const otherwise = arguments.find("default");
  const bool by_attribute = arguments.positional.empty() && attribute != nullptr;
  if (!by_attribute && (arguments.positional.empty() || !arguments.positional[0].is_string())) {
    return in.heap.fail("map() needs the name of a filter, or attribute="), Value();
  }
  for (const Value& item : iterate(in.heap, self)) {
    if (!in.heap.spend(1)) return {};
    Value mapped;
    if (by_attribute) {
      mapped =
          in.attribute_path(item, *attribute, otherwise != nullptr ? *otherwise : Value::none());
    } else {
      mapped = in.call_filter(arguments.positional[0].text(), item, arguments.without_first(1));
    }
    out.list().push(in.heap, mapped);
  }
  return out;
}

// select, reject, selectattr, rejectattr: keeps the items whose test answers kKeep.
template <bool kKeep, bool kAttribute>
Value filter_select(In& in, const Value& self, const Arguments& arguments) {
  const Value out = make_list(in.heap, {}, Kind::kGenerator);
  if (!truthy(self)) return out;
  const size_t first = kAttribute ? 1 : 0;
  if (arguments.positional.size() < first)
    return in.heap.fail("selectattr() and rejectattr() need an attribute"), Value();
  const bool tested = arguments.positional.size() > first;
  if (tested && !arguments.positional[first].is_string())
    return in.heap.fail("the name of a test is a string"), Value();
  for (const Value& item : iterate(in.heap, self)) {
    if (!in.heap.spend(1)) return {};
    const Value value = kAttribute ? in.attribute_path(item, arguments.positional[0]) : item;
    const bool passes = tested ? in.call_test(arguments.positional[first].text(), value,
                                              arguments.without_first(first + 1))
                               : truthy(value);
    if (passes == kKeep) out.list().push(in.heap, item);
  }
  return out;
}

Value filter_attr(In& in, const Value& self, const Arguments& arguments) {
  const Parameters p(in.heap, "attr", arguments, {"name"});
  if (!p.require(1)) return {};
  const Value found = in.attribute(self, p.text(0, ""));
  return found.kind() == Kind::kCallable ? found : Value::undefined(p.text(0, ""));
}

constexpr NamedFunction kFilters[] = {
    {"length", filter_length},
    {"count", filter_length},
    {"list", filter_list},
    {"first", filter_first},
    {"last", filter_last},
    {"join", filter_join},
    {"items", filter_items},
    {"map", filter_map},
    {"select", filter_select<true, false>},
    {"reject", filter_select<false, false>},
    {"selectattr", filter_select<true, true>},
    {"rejectattr", filter_select<false, true>},
    {"dictsort", filter_dictsort},
    {"sort", filter_sort},
    {"unique", filter_unique},
    {"reverse", filter_reverse},
    {"min", filter_extreme<false>},
    {"max", filter_extreme<true>},
    {"sum", filter_sum},
    {"groupby", filter_groupby},
    {"batch", filter_batch},
    {"slice", filter_slice},
    {"attr", filter_attr},
};

}  // namespace

std::span<const NamedFunction> sequence_filters() { return kFilters; }

}  // namespace geist::text::jinja
