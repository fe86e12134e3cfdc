// strftime() in UTC with English names. The C library's own would read the process's locale and
// time zone, and a rendering must depend on its arguments alone.
#include <cstdio>
#include <optional>

#include "text/jinja_interpreter.h"
#include "text/jinja_text.h"

namespace geist::text::jinja {
namespace {

constexpr const char* kMonths[] = {"January",   "February", "March",    "April",
                                   "May",       "June",     "July",     "August",
                                   "September", "October",  "November", "December"};
constexpr const char* kDays[] = {"Sunday",   "Monday", "Tuesday", "Wednesday",
                                 "Thursday", "Friday", "Saturday"};

struct Calendar {
  int64_t year;
  int month, day, hour, minute, second;  // month and day count from 1
  int weekday;                           // from Sunday = 0
  int day_of_year;                       // from 1
};

bool is_leap(int64_t year) { return year % 4 == 0 && (year % 100 != 0 || year % 400 == 0); }

int64_t floor_divide(int64_t a, int64_t b) { return a / b - (a % b < 0 ? 1 : 0); }

// Days since 1970-01-01 to a civil date, by the era of 400 years that repeats exactly.
Calendar calendar_of(int64_t unix_time_s) {
  Calendar c{};
  const int64_t days = floor_divide(unix_time_s, 86400), seconds = unix_time_s - days * 86400;
  c.hour = static_cast<int>(seconds / 3600);
  c.minute = static_cast<int>(seconds / 60 % 60);
  c.second = static_cast<int>(seconds % 60);
  c.weekday = static_cast<int>(((days + 4) % 7 + 7) % 7);
  const int64_t shifted = days + 719468;  // since 0000-03-01, so that leap days end a year
  const int64_t era = floor_divide(shifted, 146097), day_of_era = shifted - era * 146097;
  const int64_t year_of_era =
      (day_of_era - day_of_era / 1460 + day_of_era / 36524 - day_of_era / 146096) / 365;
  const int64_t day = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
  const int64_t shifted_month = (5 * day + 2) / 153;  // March = 0
  c.day = static_cast<int>(day - (153 * shifted_month + 2) / 5 + 1);
  c.month = static_cast<int>(shifted_month < 10 ? shifted_month + 3 : shifted_month - 9);
  c.year = year_of_era + era * 400 + (c.month <= 2 ? 1 : 0);
  static constexpr int kDaysBefore[] = {0, 31, 59, 90, 120, 151, 181, 212, 243, 273, 304, 334};
  c.day_of_year = kDaysBefore[c.month - 1] + c.day + (c.month > 2 && is_leap(c.year) ? 1 : 0);
  return c;
}

// ISO 8601: week 1 has the year's first Thursday.
int iso_week(const Calendar& c, int64_t* year) {
  const int monday_based = (c.weekday + 6) % 7;
  int week = (c.day_of_year - monday_based + 9) / 7;
  *year = c.year;
  const auto weeks_of = [](int64_t y) {
    const auto last_weekday = [](int64_t v) {
      return (v + floor_divide(v, 4) - floor_divide(v, 100) + floor_divide(v, 400)) % 7;
    };
    return last_weekday(y) == 4 || last_weekday(y - 1) == 3 ? 53 : 52;
  };
  if (week < 1) {
    --*year;
    week = weeks_of(*year);
  } else if (week > weeks_of(c.year)) {
    ++*year;
    week = 1;
  }
  return week;
}

void append_number(std::string& out, int64_t value, int width, char flag, char padding = '0') {
  if (flag == '-') width = 0;
  if (flag == '_') padding = ' ';
  if (flag == '0') padding = '0';
  char buffer[32];
  std::snprintf(buffer, sizeof(buffer), padding == '0' ? "%0*lld" : "%*lld", width,
                static_cast<long long>(value));
  out += buffer;
}

void append_name(std::string& out, const char* name, bool full, char flag) {
  std::string text(name);
  if (!full) text.resize(3);
  if (flag == '^') {
    for (char& c : text) c = c >= 'a' && c <= 'z' ? static_cast<char>(c - 32) : c;
  }
  out += text;
}

struct NumberField {
  int64_t value;
  int width;
  char fill;
};

std::optional<NumberField> date_number(char letter, const Calendar& c) {
  int64_t iso_year = 0;
  const int week = iso_week(c, &iso_year);
  switch (letter) {
    case 'Y':
      return NumberField{c.year, 1, '0'};
    case 'y':
      return NumberField{(c.year % 100 + 100) % 100, 2, '0'};
    case 'C':
      return NumberField{floor_divide(c.year, 100), 2, '0'};
    case 'm':
      return NumberField{c.month, 2, '0'};
    case 'd':
      return NumberField{c.day, 2, '0'};
    case 'e':
      return NumberField{c.day, 2, ' '};
    case 'j':
      return NumberField{c.day_of_year, 3, '0'};
    case 'w':
      return NumberField{c.weekday, 1, '0'};
    case 'u':
      return NumberField{c.weekday == 0 ? 7 : c.weekday, 1, '0'};
    case 'U':
      return NumberField{(c.day_of_year + 6 - c.weekday) / 7, 2, '0'};
    case 'W':
      return NumberField{(c.day_of_year + 6 - (c.weekday + 6) % 7) / 7, 2, '0'};
    case 'V':
      return NumberField{week, 2, '0'};
    case 'G':
      return NumberField{iso_year, 1, '0'};
    default:
      return std::nullopt;
  }
}

std::optional<NumberField> time_number(char letter, const Calendar& c, int64_t unix_time_s) {
  const int hour12 = c.hour % 12 == 0 ? 12 : c.hour % 12;
  switch (letter) {
    case 'H':
      return NumberField{c.hour, 2, '0'};
    case 'k':
      return NumberField{c.hour, 2, ' '};
    case 'I':
      return NumberField{hour12, 2, '0'};
    case 'l':
      return NumberField{hour12, 2, ' '};
    case 'M':
      return NumberField{c.minute, 2, '0'};
    case 'S':
      return NumberField{c.second, 2, '0'};
    case 's':
      return NumberField{unix_time_s, 1, '0'};
    default:
      return std::nullopt;
  }
}

const char* fixed_text(char letter, const Calendar& c) {
  switch (letter) {
    case 'f':
      return "000000";
    case 'p':
      return c.hour < 12 ? "AM" : "PM";
    case 'P':
      return c.hour < 12 ? "am" : "pm";
    case 'Z':
      return "UTC";
    case 'z':
      return "+0000";
    case 'n':
      return "\n";
    case 't':
      return "\t";
    case '%':
      return "%";
    default:
      return nullptr;
  }
}

// One conversion; false when the letter is unknown.
bool append_field(std::string& out, char letter, char flag, const Calendar& c,
                  int64_t unix_time_s) {
  auto number = date_number(letter, c);
  if (!number) number = time_number(letter, c, unix_time_s);
  if (number) {
    append_number(out, number->value, number->width, flag, number->fill);
    return true;
  }
  if (const char* text = fixed_text(letter, c)) {
    out += text;
    return true;
  }
  switch (letter) {
    case 'B':
      append_name(out, kMonths[c.month - 1], true, flag);
      return true;
    case 'b':
    case 'h':
      append_name(out, kMonths[c.month - 1], false, flag);
      return true;
    case 'A':
      append_name(out, kDays[c.weekday], true, flag);
      return true;
    case 'a':
      append_name(out, kDays[c.weekday], false, flag);
      return true;
    default:
      return false;
  }
}

// The conversions that stand for a longer format.
const char* expansion(char letter) {
  switch (letter) {
    case 'D':
    case 'x':
      return "%m/%d/%y";
    case 'F':
      return "%Y-%m-%d";
    case 'T':
    case 'X':
      return "%H:%M:%S";
    case 'R':
      return "%H:%M";
    case 'r':
      return "%I:%M:%S %p";
    case 'c':
      return "%a %b %e %H:%M:%S %Y";
    default:
      return nullptr;
  }
}

void append_format(Heap& heap, std::string& out, std::string_view format, const Calendar& c,
                   int64_t unix_time_s) {
  for (size_t i = 0; i < format.size() && heap.spend(1); ++i) {
    if (format[i] != '%' || i + 1 >= format.size()) {
      out += format[i];
      continue;
    }
    char flag = 0;
    size_t at = i + 1;
    if (std::string_view("-_0^").find(format[at]) != std::string_view::npos &&
        at + 1 < format.size())
      flag = format[at++];
    if (const char* longer = expansion(format[at])) {
      append_format(heap, out, longer, c, unix_time_s);
    } else if (!append_field(out, format[at], flag, c, unix_time_s)) {
      out += format.substr(i, at - i + 1);
    }
    i = at;
  }
}

}  // namespace

std::string format_time(Heap& heap, std::string_view format, int64_t unix_time_s) {
  // Far enough for any clock, and inside what the calendar's arithmetic can hold.
  constexpr int64_t kSecondsMax = int64_t{1} << 40;
  std::string out;
  if (unix_time_s < -kSecondsMax || unix_time_s > kSecondsMax)
    return heap.fail("strftime_now: the time is out of range"), out;
  append_format(heap, out, format, calendar_of(unix_time_s), unix_time_s);
  return out;
}

}  // namespace geist::text::jinja
