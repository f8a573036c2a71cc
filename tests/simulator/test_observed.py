from gateway.simulator.observed import Stats, mask, masked


def test_headers_are_kept_by_name_and_credentials_masked():
    stats = Stats()
    stats.saw({"X-Api-Key": "sk-0123456789", "Accept": "text/event-stream"})
    assert stats.last_headers == {"x-api-key": "***6789", "accept": ""}
    assert stats.view()["requests"] == 1


def test_a_short_secret_shows_nothing():
    assert mask("12345678") == "***"


def test_other_headers_keep_their_values_in_the_record():
    assert masked({"Authorization": "Bearer 0123456789", "A": "b"}) == {"authorization": "***6789", "a": "b"}
