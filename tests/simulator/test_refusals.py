from gateway.simulator.refusals import Refused, error_body, html_page, sentence


def test_a_status_brings_its_type_sentence_and_whether_to_retry():
    overloaded, invalid = Refused(529), Refused(400, message="x")
    assert (overloaded.kind, overloaded.message) == ("overloaded_error", "Overloaded")
    assert overloaded.headers == {"x-should-retry": "true"}
    assert (invalid.kind, invalid.headers) == ("invalid_request_error", {"x-should-retry": "false"})


def test_unknown_statuses_and_types_have_a_fallback():
    assert Refused(599).kind == "api_error"
    assert Refused(499).kind == "invalid_request_error"
    assert sentence("some_new_error") == "Error"


def test_the_body_has_claudes_field_order():
    assert error_body("api_error", "m", "req_1") == (
        b'{"type":"error","error":{"type":"api_error","message":"m"},"request_id":"req_1"}'
    )


def test_a_proxys_page_is_html():
    assert b"<h1>502 Error</h1>" in html_page(502)
