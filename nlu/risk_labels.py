"""What the risk heads answer: two general questions, then one for every indicator."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from nlu.indicators import SEVERITY_OF

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from nlu.examples import Example

ESCALATE, CRITICAL = "escalate", "critical"
LABELS = (ESCALATE, CRITICAL, *SEVERITY_OF)


def wanted(examples: Sequence[Example]) -> NDArray[np.float32]:
    """1 where a label holds, else 0: examples x LABELS."""
    return np.array(
        [
            [bool(e.indicators), e.severity == CRITICAL, *(name in e.indicators for name in SEVERITY_OF)]
            for e in examples
        ],
        dtype=np.float32,
    )
