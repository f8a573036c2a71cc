"""The generated table is fresh."""

from __future__ import annotations

from tests.core.generate_price_table import TARGET, rendered


def test_the_price_table_is_what_the_installed_package_says():
    """After raising genai-prices: ``python -m tests.core.generate_price_table``."""
    assert TARGET.read_text() == rendered()
