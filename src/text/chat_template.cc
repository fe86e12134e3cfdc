#include "text/chat_template.h"

#include "text/jinja_interpreter.h"
#include "text/jinja_json.h"
#include "text/jinja_parser.h"

namespace geist::text {

struct ChatTemplate::Impl {
  std::unique_ptr<jinja::Program> program;
};

ChatTemplate::ChatTemplate(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
ChatTemplate::ChatTemplate(ChatTemplate&&) noexcept = default;
ChatTemplate& ChatTemplate::operator=(ChatTemplate&&) noexcept = default;
ChatTemplate::~ChatTemplate() = default;

Result<ChatTemplate> ChatTemplate::parse(std::string_view source) {
  auto program = jinja::parse_program(source);
  if (!program.ok()) return program.error();
  return ChatTemplate(std::make_unique<Impl>(Impl{std::move(program).value()}));
}

bool ChatTemplate::marks_generation() const { return impl_->program->marks_generation; }

Result<std::string> ChatTemplate::render(std::string_view context_json, int64_t unix_time_s,
                                         const RenderLimits& limits,
                                         std::vector<TextSpan>* generated) const {
  jinja::Heap heap(limits);
  const jinja::Value context = jinja::parse_json(heap, context_json);
  if (!heap.failed() && !context.is_dict()) heap.fail("the context is not a JSON object");
  std::string output;
  if (!heap.failed()) {
    jinja::Interpreter interpreter(*impl_->program, heap, unix_time_s);
    output = interpreter.render(context);
    if (generated != nullptr) *generated = interpreter.generated();
  }
  if (heap.failed()) return Error{heap.message()};
  return output;
}

}  // namespace geist::text
