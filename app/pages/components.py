"""Every component in every state on one page, for development and for the visual comparison."""

from __future__ import annotations

from flask import Blueprint, render_template

bp = Blueprint("components", __name__)


@bp.get("/components/")
def show() -> str:
    """Shows made-up figures only; registered in development, so it asks nobody to sign in."""
    return render_template("pages/components.html")
