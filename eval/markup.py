"""Text of others inside Markdown and LaTeX: nothing of it is markup there."""


def markdown_text(text: str) -> str:
    """`text` on one line, as a cell of a Markdown table can hold it."""
    return " ".join(text.replace("|", r"\|").replace("<", "&lt;").split())


def latex_text(text: str) -> str:
    """`text` as LaTeX sets it, in text mode."""
    special = {"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}"}
    special |= {character: "\\" + character for character in "&%$#_{}"}
    special |= {"λ": r"$\lambda$", "Δ": r"$\Delta$", "↓": r"$\downarrow$", "↑": r"$\uparrow$"}
    special |= {"—": "--", "−": "$-$", "\u202f": r"\,", "\u00a0": "~"}
    return "".join(special.get(character, character) for character in text)
