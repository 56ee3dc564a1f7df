"""The operator's page and the API page of the service; they load nothing from other hosts."""

import base64
import hashlib
import html
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

_FILES = Path(__file__).with_name("page_files")


@dataclass(frozen=True)
class Page:
    """A page with its content security policy.

    Attributes:
        html: the page.
        policy: its Content-Security-Policy: its own style and script, this service, the camera, nothing else.
    """

    html: str
    policy: str


@cache
def operator_page(class_names: tuple[str, str]) -> Page:
    """The operator's page.

    Args:
        class_names: the user's names for Correct and Incorrect.
    """
    text, style, words, texts = map(_read, ("operator.html", "operator.css", "words.json", "texts.json"))
    code = "".join(map(_read, ("operator.js", "texts.js", "reviews.js")))
    tables = f"const TEXT = {words.strip()};\nconst TEXTS = {texts.strip()};"
    script = f'(() => {{\n"use strict";\n{tables}\n{code}label();\n}})();'
    text = text.replace("{{style}}", style).replace("{{script}}", script)
    # in an attribute, so that the script's hash does not change
    names = html.escape(json.dumps(class_names, ensure_ascii=False), quote=True)
    return _page(text.replace("{{classes}}", names))


def docs_page(interface: Mapping[str, Any]) -> Page:
    """The API documentation page.

    Args:
        interface: OpenAPI description of the service.
    """
    lines = []
    for path, methods in interface["paths"].items():
        for method, call in methods.items():
            given = ", ".join(
                f"<code>{html.escape(item['name'])}</code> {html.escape(item.get('description', ''))}"
                for item in call.get("parameters", [])
            )
            what = html.escape(call.get("description", ""))
            lines.append(f"<tr><td><code>{method.upper()} {html.escape(path)}</code><td>{what}<td>{given}")
    return _page(_read("docs.html").replace("{{rows}}", "\n".join(lines)))


def _read(name: str) -> str:
    return (_FILES / name).read_text(encoding="utf-8")


def _page(text: str) -> Page:
    rules = {"script-src": re.findall(r"<script>(.*?)</script>", text, re.S)}
    rules["style-src"] = re.findall(r"<style>(.*?)</style>", text, re.S)
    hashes = {rule: " ".join(map(_hash, parts)) or "'none'" for rule, parts in rules.items()}
    allowed = "; ".join(f"{rule} {sources}" for rule, sources in hashes.items())
    own = "connect-src 'self'; img-src blob: data:; media-src blob:; base-uri 'none'; form-action 'none'"
    return Page(text, f"default-src 'none'; {allowed}; {own}; frame-ancestors 'none'")


def _hash(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"
