from gateway.simulator import phrasebook


def every_language():
    return (*phrasebook.LANGUAGES, phrasebook.CHINESE)


def test_every_topic_has_answers_and_only_the_known_placeholder():
    for language in every_language():
        for topic in language.topics:
            assert topic.answers
            assert all("{tool}" not in text for text in topic.answers)
        assert language.generic
        assert "{tool}" in language.result
        assert "{result}" in language.result


def test_every_language_but_chinese_is_given_away_by_words_of_its_own():
    for language in phrasebook.LANGUAGES:
        others = frozenset[str]().union(*(other.hints for other in phrasebook.LANGUAGES if other is not language))
        assert len(language.hints - others) > 10
