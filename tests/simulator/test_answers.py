import pytest

from gateway.simulator.answers import announcement, answer, language_of, stretched, thoughts
from gateway.simulator.ask import read_ask
from gateway.simulator.phrasebook import CHINESE, ENGLISH, FRENCH, GERMAN, SPANISH
from gateway.simulator.tokens import split


def ask(question, **more):
    return read_ask({"model": "claude-x", "max_tokens": 9, "messages": [{"role": "user", "content": question}], **more})


@pytest.mark.parametrize(
    ("question", "said"),
    [
        ("What are your opening hours?", "We are open Monday to Friday"),
        ("When are you open?", "We are open Monday to Friday"),
        ("How long does shipping take?", "two to four working days"),
        ("Can I return my shoes?", "within 30 days"),
        ("Hello!", "today?"),
        ("Write a Python function that counts words", "```python"),
        ("Explain quantum tunnelling", "quantum tunnelling"),
        ("Give me a table of plans", "| Plan |"),
        ("Write a story", "lighthouse"),
        ("Quels sont vos horaires ?", "Nous sommes ouverts"),
        ("Bonjour", "Que puis-je faire"),
        ("Parlez-moi de la mer et des bateaux, je vous prie", "C'est une bonne question"),
        ("Wie sind Ihre Öffnungszeiten?", "montags bis freitags"),
        ("¿Cuál es su horario?", "Abrimos de lunes"),
        ("你们几点开门", "我们周一至周五"),
        ("Zebras and giraffes", "zebras giraffes"),
        ("?", "…"),
    ],
)
def test_the_answer_fits_the_question_and_its_language(question, said):
    assert said in answer(ask(question), seed=0)


def test_the_opening_hours_take_44_tokens():
    assert len(split(answer(ask("What are your opening hours?"), seed=3))) == 44


def test_the_same_seed_gives_the_same_answer_and_another_may_give_another():
    question = ask("Zebras and giraffes")
    given = {answer(question, seed) for seed in range(20)}
    assert answer(question, 7) == answer(question, 7)
    assert len(given) == 2


@pytest.mark.parametrize(
    ("system", "language"),
    [
        ("Always answer in French.", FRENCH),
        ("Antworte auf Deutsch", GERMAN),
        ("Reply in Spanish", SPANISH),
        ("Reply in Chinese", CHINESE),
        ("Reply in English", ENGLISH),
        ("", ENGLISH),
    ],
)
def test_the_system_prompt_may_name_the_language(system, language):
    assert language_of(ask("What is a tide?", system=system)) is language


def test_the_system_prompt_may_ask_for_brevity():
    text = answer(ask("What are your opening hours?", system="Be concise."), 0)
    assert text == "We are open Monday to Friday from 9 am to 6 pm and on Saturday from 10 am to 4 pm."


def test_a_context_in_the_system_prompt_answers_the_question():
    system = "Use only the context below.\n\nThe garden opens in April. The ferry to the island leaves at nine."
    assert answer(ask("When does the ferry leave?", system=system), 0) == "The ferry to the island leaves at nine."
    assert "ferry" not in answer(ask("Zebras?", system=system), 0)
    assert answer(ask("Hello", system="No context."), 0) == answer(ask("Hello"), 0)


def test_an_image_is_acknowledged():
    image = {"type": "image", "source": {"type": "url", "url": "https://example.com/a.png"}}
    assert "image" in answer(ask([image]), 0)


def test_a_tool_result_is_told_and_cut_when_it_is_long():
    use = {"type": "tool_use", "id": "t", "name": "look", "input": {}}
    result = {"type": "tool_result", "tool_use_id": "t", "content": "{x} " * 1000}
    turns = [{"role": "user", "content": "Look"}, {"role": "assistant", "content": [use]}]
    told = answer(ask("", messages=[*turns, {"role": "user", "content": [result]}]), 0)
    assert told.startswith("Here is what I found with look: {x} {x}")
    assert len(told) < 400


def test_thoughts_and_announcements_speak_the_questions_language():
    assert "mer" in thoughts(ask("Que dire de la mer et des vagues, je vous prie ?"))
    assert announcement(ask("What is the weather?")) == ENGLISH.tool


def test_a_text_is_stretched_to_a_length():
    assert stretched("a b c", 2) == ("a", " b")
    assert stretched("a b", 5) == ("a", " b", " a", " b", " a")
    assert stretched("", 2) == ("…", "…")
