"""What README.md tells a newcomer to type, and what it promises in return."""

import re
from pathlib import Path

PROMPTS = ("[smtp|pop|exit]>>> ", "[pop]>>> ", "To: ", "Subject: ", "Content: ")
# The ways to start, each with the beginnings of its two commands.
WAYS = {
    "docker": ("docker compose up", "docker compose run"),
    "cargo": ("cargo run --release -p mailtown", "cargo run --release -p agent"),
}


class Readme:
    """The console blocks of a README."""

    def __init__(self, path: Path):
        blocks = re.findall(r"^```console\n(.*?)^```$", path.read_text(), re.MULTILINE | re.DOTALL)
        self._lines = [line for block in blocks for line in block.splitlines()]
        transcripts = [block[block.index(PROMPTS[0]) :] for block in blocks if PROMPTS[0] in block]
        if not transcripts:
            raise SystemExit(f"error: {path} has no console block with a dialogue of the agent")
        self._transcript = transcripts[0]

    def commands(self, way):
        """The command that starts the town, and the one that starts the agent."""
        return tuple(self._command(beginning) for beginning in WAYS[way])

    def _command(self, beginning):
        for line in self._lines:
            if line.startswith(f"$ {beginning}"):
                return line.removeprefix("$ ").split(" #")[0].rstrip()
        raise SystemExit(f"error: README.md has no command that begins with: {beginning}")

    def dialogue(self):
        """What is typed into the agent, and what it prints when the input is a pipe, which shows nothing of it."""
        typed, printed = "", ""
        for line in self._transcript.splitlines():
            # An editor may have taken the space from the end of a line.
            prompt = next((prompt for prompt in PROMPTS if f"{line} ".startswith(prompt)), None)
            if prompt is None:
                printed += f"{line}\n"
            else:
                typed += line[len(prompt) :] + "\n"
                printed += prompt
        return typed, printed
