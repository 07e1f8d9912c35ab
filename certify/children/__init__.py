"""Processes of their own for files that may crash, hang or fill the process that reads them."""

from .ask import ONE_THREAD, Ended, run_module

__all__ = ["ONE_THREAD", "Ended", "run_module"]
