"""What a Markdown page of ours links to, and which configuration keys its table has."""

import re
from pathlib import Path

LINK = re.compile(r"!?\[[^\]]*\]\(([^)\s]+)\)")


def broken_links(page: Path):
    """The relative links of a page that lead nowhere."""
    for target in LINK.findall(without_code(page.read_text())):
        if re.match(r"[a-z]+:", target):
            continue
        path, _, anchor = target.partition("#")
        file = (page.parent / path).resolve() if path else page
        if not file.exists() or (anchor and anchor not in anchors(file)):
            yield target


def anchors(page: Path):
    """The anchors that GitHub gives to the headings of a page."""
    headings = re.findall(r"(?m)^#+ (.*)$", without_code(page.read_text(), blocks_only=True))
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def keys(page: Path):
    """The keys in the first column of the table that follows the comment `keys:`."""
    table = page.read_text().split("<!-- keys:")[1].split("\n\n")[1]
    rows = [line.split("|")[1] for line in table.splitlines()[2:]]
    return {key for row in rows for key in re.findall(r"`([^`]+)`", row)}


def without_code(text, blocks_only=False):
    text = re.sub(r"(?ms)^\s*```.*?^\s*```", "", text)
    return text if blocks_only else re.sub(r"`[^`\n]*`", "", text)
