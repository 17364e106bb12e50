"""The methods, one file each, and the table that names them."""

from __future__ import annotations

from aim.methods.aim import AIM
from aim.methods.base import Method
from aim.methods.full import Full

METHODS: dict[str, type[Method]] = {method.name: method for method in (AIM, Full)}

__all__ = ["AIM", "METHODS", "Full", "Method"]
