import re

from gateway.simulator.ids import Ids


def test_equal_seeds_give_equal_sequences():
    assert [Ids(1).request(), Ids(1).signature()][0] == Ids(1).request() != Ids(2).request()


def test_ids_look_like_claudes():
    ids = Ids(0)
    assert re.fullmatch(r"req_011C[0-9A-Za-z]{20}", ids.request())
    assert re.fullmatch(r"msg_01[0-9A-Za-z]{22}", ids.message())
    assert re.fullmatch(r"toolu_01[0-9A-Za-z]{22}", ids.tool_use())
    assert re.fullmatch(r"00-[0-9a-f]{32}-[0-9a-f]{16}-01", ids.trace())
    assert len({ids.request() for _ in range(100)}) == 100
