"""The committed OpenAPI documents are those that the gateway serves."""

from tools import gen_openapi


def test_what_is_committed_is_fresh():
    assert gen_openapi.main(["--check"]) == 0


def test_a_stale_file_fails_the_check_and_is_written_without_it(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(gen_openapi, "DOCS", tmp_path)
    assert gen_openapi.main(["--check"]) == 1
    assert "openapi.json is stale" in capsys.readouterr().err
    assert gen_openapi.main([]) == 0
    assert gen_openapi.main(["--check"]) == 0
