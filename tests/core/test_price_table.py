"""The generated table is fresh, and its generator says when it is not."""

from __future__ import annotations

from tools import gen_prices


def test_the_price_table_is_what_the_installed_package_says():
    """After raising genai-prices: ``python tools/gen_prices.py``."""
    assert gen_prices.main(["--check"]) == 0


def test_a_stale_table_fails_the_check_and_is_written_without_it(tmp_path, monkeypatch, capsys):
    table = tmp_path / "price_table.py"
    table.write_text("stale")
    monkeypatch.setattr(gen_prices, "TARGET", table)
    assert gen_prices.main(["--check"]) == 1
    assert "is stale" in capsys.readouterr().err
    assert gen_prices.main([]) == 0
    assert table.read_text() == gen_prices.rendered()
