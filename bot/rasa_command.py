"""`python -m bot.rasa_command …`: Rasa's own command line, deaf to old libraries that warn of their own age.

Filters do not help: Sanic and Rasa put up their own when they are imported, whatever PYTHONWARNINGS says. Other
warnings, and all errors, are shown as ever. Runs in the engine's environment only (Python 3.10).
"""

from __future__ import annotations

import runpy
import warnings
from typing import TextIO


def main() -> None:
    show = warnings.showwarning

    def show_what_matters(
        message: Warning | str,
        category: type[Warning],
        filename: str,
        lineno: int,
        file: TextIO | None = None,
        line: str | None = None,
    ) -> None:
        if not issubclass(category, DeprecationWarning):
            show(message, category, filename, lineno, file, line)

    warnings.showwarning = show_what_matters
    runpy.run_module("rasa", run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
