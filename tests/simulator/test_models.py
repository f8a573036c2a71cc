import pytest

from gateway.simulator import models
from gateway.simulator.refusals import Refused


def test_pages_follow_each_other_in_both_directions():
    first = models.page({"limit": "3"})
    second = models.page({"limit": "3", "after_id": first["last_id"]})
    back = models.page({"limit": "3", "before_id": second["first_id"]})
    assert first["has_more"]
    assert [entry["id"] for entry in back["data"]] == [entry["id"] for entry in first["data"]]
    assert not back["has_more"]
    assert second["first_id"] not in {entry["id"] for entry in first["data"]}


def test_the_last_page_says_so():
    everything = models.page({"limit": "1000"})
    assert not everything["has_more"]
    empty = models.page({"after_id": everything["last_id"]})
    assert empty == {"data": [], "has_more": False, "first_id": None, "last_id": None}


@pytest.mark.parametrize("query", [{"limit": "0"}, {"limit": "1001"}, {"limit": "x"}, {"after_id": "x"}])
def test_wrong_queries_are_refused(query):
    with pytest.raises(Refused) as caught:
        models.page(query)
    assert caught.value.status == 400


def test_aliases_and_simulated_names_are_known_and_others_are_not():
    assert models.model("claude-haiku-4-5")["id"] == "claude-haiku-4-5-20251001"
    assert models.model("claude-haiku-4-5")["line"] == "haiku"
    assert models.model("sim-fast")["line"] is None
    with pytest.raises(Refused, match="claude-9"):
        models.model("claude-9")
