"""The quick way of rendering writes what `Template.render` writes, and lets out no more."""

import pytest
from jinja2 import Template
from transformers.utils.chat_template_utils import _compile_jinja_template

from service.tokenization.quick_template import LOOP_FACTS, quick_render
from tests.tokenization import tiny_tokenizers as tiny

GIVEN = {"tools": None, "documents": None, "bos_token": "<s>", "eos_token": "</s>"}
TURNS = [
    [{"role": "user", "content": " Hello there? "}],
    [{"role": "system", "content": "{{ 7 * 7 }}"}, {"role": "user", "content": "one"}],
    [{"role": "user", "content": "«é»"}, {"role": "assistant", "content": ""}, {"role": "user", "content": "<s>"}],
    [],
]
FACTS = ["{% for m in messages %}{{ loop." + fact + " }},{% endfor %}" for fact in sorted(LOOP_FACTS)]
TEMPLATES = [
    tiny.CHATML,
    tiny.QWEN,
    tiny.LLAMA2,
    *FACTS,
    "{{ bos_token }}{% for m in messages recursive %}{{ loop.depth }}{{ m.role }}{{ m['content'] | trim }}{% endfor %}",
    "{% for m in messages %}{% for c in m.content %}{{ loop.first }}{{ loop.length }}{% endfor %}{% endfor %}",
    "{% set ns = namespace(n=0) %}{% for m in messages %}{% set ns.n = ns.n + loop.index %}{% endfor %}{{ ns.n }}",
    "{% macro turn(m) %}[{{ m.role }}]{% endmacro %}{% for m in messages %}{{ turn(m) }}{% endfor %}{{ eos_token }}",
    "{% for m in messages %}{% if loop.last %}{% break %}{% endif %}{{ m.content | tojson }}{% endfor %}",
    "{% for m in messages %}{% generation %}{{ m.content }}{% endgeneration %}{% endfor %}",
    "{% for m in messages %}{{ loop.cycle('a', 'b') }}{{ loop.changed(m.role) }}{% endfor %}",
    "{% for m in messages %}{{ loop.previtem.role }}{{ loop.nextitem.role }}{{ loop.nothing }}{% endfor %}",
    "{{ tools is none }}{{ documents is none }}{{ unknown is defined }}{{ add_generation_prompt }}{{ unknown }}",
    "{% if messages[0].role != 'user' %}{{ raise_exception('only users') }}{% endif %}ok",
    "{{ dict(a=1) }}{{ range(3) | list }}{{ '{}!'.format(messages | length) }}",
]
REFUSED = [
    "{% for m in messages %}{{ loop.__class__.__mro__ }}{% endfor %}",
    "{% for m in messages %}{{ loop._iterable }}{{ loop.cycle.__func__.__globals__ }}{% endfor %}",
    "{{ messages.append(1) }}",
    "{{ messages.__class__.__subclasses__() }}",
    "{{ '{0.__class__.__mro__}'.format(1) }}",
    "{{ unknown.attribute }}",
    "{{ raise_exception.__globals__['os'] }}",
    "{% include 'another' %}",
    "{{ 1 / 0 }}",
]


def said(render, turns, opened):
    """What a renderer writes, or the kind and words of its refusal."""
    try:
        return render(messages=turns, add_generation_prompt=opened)
    except Exception as error:
        return f"{type(error).__name__}: {error}"


def both(source):
    """The quick renderer of a template, and the slow one."""
    template: Template = _compile_jinja_template(source)
    return quick_render(template, source, GIVEN), lambda **more: template.render(**GIVEN, **more)


@pytest.mark.parametrize("source", TEMPLATES + REFUSED)
def test_both_ways_write_the_same(source):
    quick, slow = both(source)
    for turns in TURNS:
        for opened in (False, True):
            assert said(quick, turns, opened) == said(slow, turns, opened)


@pytest.mark.parametrize("source", REFUSED)
def test_what_the_sandbox_refuses_stays_refused(source):
    quick, _ = both(source)
    written = said(quick, TURNS[0], opened=False)

    assert written == "" or "Error" in written


def test_no_call_leaves_anything_for_the_next():
    quick, slow = both("{% if messages %}{% set seen = 1 %}{% endif %}{{ seen is defined }}{{ bos_token }}")
    for turns in (TURNS[0], [], TURNS[0], []):
        assert said(quick, turns, opened=True) == said(slow, turns, opened=True)


def test_the_template_of_others_is_left_as_it_was():
    template = _compile_jinja_template(tiny.CHATML)
    kind = type(template.environment)
    quick_render(template, tiny.CHATML, GIVEN)

    assert type(template.environment) is kind
