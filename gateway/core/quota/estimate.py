"""The most input tokens that a request can have, before Claude has counted them: cached ones included.

- Claude's tokenizer is not public. What it is given is counted in two weights: small letters and spaces, of which a
  token holds several, and all other bytes (digits, signs, capitals, other scripts), of which it holds one or two.
- Models from Opus 4.7 on cut text smaller and look at images more closely, so they have their own weights. A model
  that is not known to be older has the newer ones.
- Bytes of images and PDFs are no text. An image counts as the largest, a PDF as its pages, which its size bounds. Only
  blocks of ``messages`` and ``system`` are media: what a tool is called with, and what describes one, is text to
  Claude, whatever its keys are.
- Nothing is over Claude's largest context: a longer request is refused, and costs nothing.

Measured, as estimate / Claude's count:

- On 178 requests with Claude's count, from two public projects' tests (Claude 3 to Sonnet 4.5, mostly English and
  tools): none is too low, the least is 1.15, half are under 1.92. The 14 of more than 1,000 tokens are at 1.40 to
  1.47. Two requests to Opus 4.7 are at 1.5 and 2.3.
- On the texts of 47 recorded answers, taken for input (a test repeats it): none is too low, the least is 1.36, half
  are under 1.82, the worst is 2.74.
- Much too high are thinking of earlier turns with its signature (46), images of a few pixels (73), and small PDFs (15).
- Not measured, for want of recordings: other scripts than Latin (1.4 to 1.6 tokens are taken for a Cyrillic or Arabic
  letter, 2.1 to 2.4 for a Chinese or Thai one, 2.8 to 3.2 for most emoji), and images and PDFs on newer models. Text
  that was made to have many tokens, or pages of less than 3 KiB, can be above the estimate.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from functools import lru_cache
from typing import Any, NamedTuple

# Looking at so many takes 30 ms; a request of more counts as a whole context. Ten thousand turns, the chat route's
# most, are a sixth of them.
_MOST_VALUES = 200_000
LARGEST_CONTEXT = 1_000_000

_LIGHT = b"abcdefghijklmnopqrstuvwxyz "
_OF_BLOCKS = ("messages", "system")
# What else a request has is text that Claude reads, also where we do not know it.
_NOT_TEXT = frozenset(
    {
        *_OF_BLOCKS,
        "fallbacks",
        "inference_geo",
        "max_tokens",
        "metadata",
        "model",
        "service_tier",
        "speed",
        "stop_sequences",
        "stream",
        "temperature",
        "top_k",
        "top_p",
    }
)
_MEDIA_SOURCES = ("base64", "url", "file")
_UNBOUNDED_BLOCKS = ("container_upload", "tool_addition")
_FORMATS = frozenset({"output_config", "output_format"})
_OWN_TOOL = (None, "custom")

_BASE = 30  # around the shortest request stand about 10 tokens
_OF_BROUGHT_TOOL = 3000  # the description of a tool that Claude brings: up to 2,700 were recorded
_OF_FORMAT = 400
_OF_DOCUMENT = 600  # its frame, and what citations add
_MOST_PAGES = 600  # of all PDFs of a request
_PAGE_TEXT = 3000  # Claude's documentation says 1,500 to 3,000, and the page's image
_BASE64_OF_PAGE = 4096  # of 3 KiB: a page of nothing but text has that, compressed
_UNSEEN_PAGES = 20
_OF_FLOAT = 20
_OF_NULL = 5
_OLDER = re.compile(
    r"claude-(?:instant|v?[123](?!\d)|(?:opus|sonnet|haiku)-(?:3|4(?:[-.][0-6](?!\d)|[-@]20\d{6}|(?![-.@\d]))))"
)


class Weights(NamedTuple):
    """Tokens of what a request is made of, for one generation of models.

    Attributes:
        light: Tokens per small letter or space.
        dense: Tokens per other byte of UTF-8.
        image: Most tokens of one image.
        tools: Tokens of the hidden prompt that comes with tools.
    """

    light: float
    dense: float
    image: int
    tools: int


OLDER = Weights(light=0.33, dense=0.7, image=1700, tools=800)
NEWER = Weights(light=0.5, dense=0.8, image=4900, tools=1100)


class InputEstimate(NamedTuple):
    """What a request gives Claude to read.

    Attributes:
        tokens: Most input tokens, those of the cache included.
        cache: The longest time for which the request can write to the cache: ``"1h"``, ``"5m"`` or empty.
        unbounded: The kind of block whose tokens nothing in the request bounds, ``"values"`` where there are too many
            values to look for one, None without one.
    """

    tokens: int
    cache: str
    unbounded: str | None


class _Content:
    """What a walk through a request finds.

    Attributes:
        texts: Every string, names of fields included.
        digits: Of all numbers.
        images: How many.
        documents: How many, of any kind.
        pages: Of PDFs.
        unbounded: The kind of the last block that has no bound, None without one.
    """

    __slots__ = ("_json", "digits", "documents", "images", "pages", "texts", "unbounded")

    def __init__(self) -> None:
        self.texts: list[str] = [""]
        self.digits = self.images = self.documents = self.pages = 0
        self.unbounded: str | None = None
        self._json: list[Any] = []

    def read(self, fields: Mapping[str, Any]) -> bool:
        """Read a request; False when it has too many values to look at all of them."""
        names = [name for name in fields if name not in _NOT_TEXT]
        self._json = [fields[name] for name in names]
        self.texts.extend(names)
        blocks = [fields[name] for name in _OF_BLOCKS if name in fields]
        left = self._walk(blocks, self._block, _MOST_VALUES)
        left = self._walk(self._json, dict.values, left)
        self.texts.append("")
        return left > 0

    def _walk(self, pending: list[Any], inside: Callable[[dict[str, Any]], Iterable[Any]], left: int) -> int:
        """Look at values and what is inside of them; return how many more may be looked at."""
        texts = self.texts
        while pending and left > 0:
            left -= 1
            node = pending.pop()
            if isinstance(node, str):
                texts.append(node)
            elif isinstance(node, dict):
                texts.extend(node)
                pending.extend(inside(node))
            elif isinstance(node, list):
                pending.extend(node)
            else:
                self.digits += _digits(node)
        return left

    def _block(self, block: dict[str, Any]) -> Iterable[Any]:
        """Return what is to be read of an object in a message: of media nothing."""
        kind = block.get("type")
        if not isinstance(kind, str) or kind == "text":
            return block.values()
        if kind in _UNBOUNDED_BLOCKS:
            self.unbounded = kind
        elif kind == "image":
            self.images += 1
            return self._beside_media(block)
        elif kind == "document":
            self.documents += 1
            return self._beside_media(block)
        elif kind.endswith("tool_use"):
            self._json.append(block.get("input"))
            return [value for name, value in block.items() if name != "input"]
        return block.values()

    def _beside_media(self, block: dict[str, Any]) -> Iterable[Any]:
        source = block.get("source")
        kind = source.get("type") if isinstance(source, dict) else None
        if kind not in _MEDIA_SOURCES:
            return block.values()
        if block["type"] == "document":
            self._pages_of(str(kind), source)
        return [value for name, value in block.items() if name != "source"]

    def _pages_of(self, kind: str, source: Any) -> None:
        if kind == "base64":
            data = source.get("data")
            self.pages += 1 + (len(data) if isinstance(data, str) else 0) // _BASE64_OF_PAGE
        else:
            self.pages += _UNSEEN_PAGES
            self.unbounded = f"document.{kind}"


@lru_cache(maxsize=1024)
def weights_of(model: str) -> Weights:
    """Return the weights of a model; the newer ones when it is not known to be older."""
    return OLDER if _OLDER.search(model.lower()) else NEWER


def estimate_input(fields: Mapping[str, Any], weights: Weights) -> InputEstimate:
    """Estimate the input of one request.

    Args:
        fields: The decoded JSON of a request to Claude's Messages API.
        weights: Those of the model; of several models, the highest.
    """
    content = _Content()
    if not content.read(fields):
        return InputEstimate(LARGEST_CONTEXT, "1h", "values")
    text = "\n".join(content.texts)
    tokens = _of_text(text, content.digits, weights) + _of_media(content, weights) + _of_frame(fields, weights)
    return InputEstimate(min(int(tokens) + _BASE, LARGEST_CONTEXT), _cache(text), content.unbounded)


def _of_text(text: str, digits: int, weights: Weights) -> float:
    if len(text) * weights.light > LARGEST_CONTEXT:  # 24 MB need not be encoded, which takes 40 ms
        return LARGEST_CONTEXT
    raw = text.encode("utf-8", "surrogatepass")
    dense = len(raw.translate(None, _LIGHT))
    return (len(raw) - dense) * weights.light + (dense + digits) * weights.dense


def _of_media(content: _Content, weights: Weights) -> int:
    pages = min(content.pages, _MOST_PAGES) * (weights.image + _PAGE_TEXT)
    return content.images * weights.image + content.documents * _OF_DOCUMENT + pages


def _of_frame(fields: Mapping[str, Any], weights: Weights) -> int:
    """Return what Claude adds of its own: the prompts for tools and for a format of the output."""
    tools = fields.get("tools")
    brought = sum(_brought(tool) for tool in tools) if isinstance(tools, list) else 0
    formatted = not fields.keys().isdisjoint(_FORMATS)
    return (weights.tools if tools else 0) + brought * _OF_BROUGHT_TOOL + formatted * _OF_FORMAT


def _brought(tool: Any) -> bool:
    return isinstance(tool, dict) and tool.get("type") not in _OWN_TOOL


def _cache(text: str) -> str:
    """Say for how long a request can write to the cache; a text that only speaks of it counts too."""
    if "cache_control" not in text:
        return ""
    return "1h" if "\n1h\n" in text else "5m"


def _digits(value: Any) -> int:
    if isinstance(value, int):  # not str(): Python refuses to write more than 4,300 digits
        return value.bit_length() // 3 + 1
    return _OF_FLOAT if isinstance(value, float) else _OF_NULL
