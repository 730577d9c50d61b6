"""Insight-V Workbench: generate, assess, curate, train, evaluate and review long-chain visual reasoning."""

__version__ = "0.1.0"
