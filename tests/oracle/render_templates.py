#!/usr/bin/env python3
"""Records what Jinja2 makes of models' chat templates, as digests: tests/data/chat_template/templates.json.

  apt-get install python3-jinja2
  tests/oracle/render_templates.py FOLDER     every .jinja file below it

Each template meets eight conversations: with and without a system message, tools, and contents in parts. The recorded
value is the SHA-256 of the text, or null where the template refuses that conversation. The environment is that of
Hugging Face's transformers (trimmed blocks, loop controls, tojson as json.dumps writes it), but that lists may be
appended to, which some templates do and llama.cpp allows.
"""
import datetime
import hashlib
import json
import pathlib
import sys

import jinja2
import jinja2.ext
import jinja2.nodes
import jinja2.sandbox

OUT = pathlib.Path(__file__).resolve().parent.parent / "data/chat_template/templates.json"
TIME = 1721995200  # 2024-07-26 12:00:00 UTC; the test renders at this time too

TOOLS = [{"type": "function", "function": {
    "name": "add", "description": "Adds.", "parameters": {
        "type": "object", "properties": {"a": {"type": "number", "description": "x"}}, "required": ["a"]}}}]


def conversation(system, tools, parts):
    messages = [{"role": "system", "content": "You are helpful."}] if system else []
    messages += [{"role": "user", "content": "What is the capital of France?"},
                 {"role": "assistant", "content": "Paris."},
                 {"role": "user", "content": "And of Italy?"}]
    if parts:
        for message in messages:
            message["content"] = [{"type": "text", "text": message["content"]}]
    context = {"messages": messages, "bos_token": "<s>", "eos_token": "</s>", "add_generation_prompt": True,
               "datetime": "2024-07-26", "functions": "[]"}
    return {**context, "tools": TOOLS} if tools else context


class Generation(jinja2.ext.Extension):
    """{% generation %} marks what the assistant says; it changes no text."""
    tags = {"generation"}

    def parse(self, parser):
        line = next(parser.stream).lineno
        body = parser.parse_statements(["name:endgeneration"], drop_needle=True)
        return jinja2.nodes.Scope(body, lineno=line)


def environment():
    def refuse(message):
        raise jinja2.exceptions.TemplateError(message)

    def to_json(value, ensure_ascii=False, indent=None, separators=None, sort_keys=False):
        return json.dumps(value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)

    env = jinja2.sandbox.SandboxedEnvironment(trim_blocks=True, lstrip_blocks=True,
                                              extensions=[jinja2.ext.loopcontrols, Generation])
    env.filters["tojson"] = to_json
    env.globals["raise_exception"] = refuse
    env.globals["strftime_now"] = lambda form: datetime.datetime.fromtimestamp(
        TIME, datetime.timezone.utc).strftime(form)
    return env


def digest(template, context):
    try:
        # A copy: a template may change what it is given.
        text = template.render(json.loads(json.dumps(context)))
    except (jinja2.exceptions.TemplateError, TypeError, AttributeError, KeyError, ValueError, IndexError):
        return None
    return hashlib.sha256(text.encode()).hexdigest()


def main():
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    folder = pathlib.Path(sys.argv[1])
    contexts = [conversation(form & 1, form & 2, form & 4) for form in range(8)]
    templates = {}
    for path in sorted(folder.rglob("*.jinja")):
        template = environment().from_string(path.read_text())
        templates[path.relative_to(folder).as_posix()] = [digest(template, context) for context in contexts]
    OUT.write_text(json.dumps({"made_by": f"tests/oracle/render_templates.py, Jinja2 {jinja2.__version__}",
                               "time": TIME, "contexts": contexts, "templates": templates}, indent=1) + "\n")
    rendered = sum(d is not None for row in templates.values() for d in row)
    print(f"{len(templates)} templates, {rendered} of {8 * len(templates)} conversations rendered")


if __name__ == "__main__":
    main()
