"""What users feel: the budgets of both objectives, and streams that crawl."""

from __future__ import annotations

from tools.monitoring.alert import Alert
from tools.monitoring.expressions import failed, late
from tools.monitoring.objectives import (
    AVAILABILITY,
    BURNS,
    FEWEST_BAD,
    FEWEST_STREAMS,
    FIRST_TOKEN,
    FIRST_TOKEN_WITHIN,
    SLOW_STREAM,
    SLOW_STREAMS,
    Objective,
)
from tools.monitoring.recording import bad_ratio

_BAD = {AVAILABILITY: failed, FIRST_TOKEN: late}


def burning(objective: Objective, severity: str) -> str:
    """Return the condition that a budget burns too fast, over any of the pairs of windows."""
    pairs = []
    for burn in BURNS:
        if burn.severity == severity:
            over = f"> {burn.rate:g} * {objective.budget:g}"
            pairs.append(
                f"({bad_ratio(objective, burn.long)} {over} and {bad_ratio(objective, burn.short)} {over}"
                f" and {_BAD[objective](burn.long, 'increase')} >= {FEWEST_BAD})"
            )
    return " or ".join(pairs)


def _later(objective: Objective) -> str:
    """Return the condition of the ticket: nobody needs one beside a page."""
    return f"({burning(objective, 'ticket')}) unless ({burning(objective, 'page')})"


_SLOW = f'tokenweir_output_tokens_per_second_bucket{{le="{SLOW_STREAM}"}}'
_ALL = "tokenweir_output_tokens_per_second_count"
_SHARE = "{{ $value | humanizePercentage }}"

ALERTS = [
    Alert(
        "TokenweirAnswersFail", "answers-fail", "page",
        burning(AVAILABILITY, "page"), "",
        f"{_SHARE} of the requests to {{{{ $labels.job }}}} fail",
        f"By the gateway's fault or Claude's, so fast that the budget of {AVAILABILITY.budget:.1%} of 30 days is gone in "
        "five days at the latest. Which of the two it is: errors by origin on the Service dashboard.",
    ),
    Alert(
        "TokenweirAnswersFailSlowly", "answers-fail", "ticket",
        _later(AVAILABILITY), "",
        f"{_SHARE} of the requests to {{{{ $labels.job }}}} fail, for hours",
        "Not enough to wake somebody, and more than the budget has at the end of the month.",
    ),
    Alert(
        "TokenweirFirstTokensLate", "first-tokens-are-late", "page",
        burning(FIRST_TOKEN, "page"), "",
        f"{_SHARE} of the answers of {{{{ $labels.job }}}} take more than {float(FIRST_TOKEN_WITHIN):g} s to begin",
        "People wait. The gateway's own share and Claude's stand beside each other on the Service dashboard.",
    ),
    Alert(
        "TokenweirFirstTokensLateSlowly", "first-tokens-are-late", "ticket",
        _later(FIRST_TOKEN), "",
        f"{_SHARE} of the answers of {{{{ $labels.job }}}} take long to begin, for hours",
        "More than the budget has at the end of the month: models, prompts or Claude have become slower.",
    ),
    Alert(
        "TokenweirStreamsSlow", "streams-are-slow", "ticket",
        f"sum by (job) (rate({_SLOW}[10m])) / sum by (job) (rate({_ALL}[10m])) > {SLOW_STREAMS}"
        f" and sum by (job) (increase({_ALL}[10m])) >= {FEWEST_STREAMS}", "5m",
        f"{_SHARE} of the streams of {{{{ $labels.job }}}} are slower than {float(SLOW_STREAM):g} tokens a second",
        "Slower than people read. Claude, a proxy in between, or the gateway's event loop.",
    ),
]  # fmt: skip
