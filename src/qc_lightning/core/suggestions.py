"""Suggestions for misspelt names."""

import difflib


def nearest(word: str, choices: list[str]) -> str:
    """Return ` (did you mean x?)` for the choices that resemble `word`, or an empty string.

    >>> nearest("optim.lrr", ["optim.lr", "seed"])
    ' (did you mean optim.lr?)'
    >>> nearest("lr", ["optim.lr", "seed"])
    ' (did you mean optim.lr?)'
    """
    leaf = word.rsplit(".", 1)[-1]
    close = [choice for choice in choices if choice.rsplit(".", 1)[-1] == leaf]
    if not close:
        pairs = [(word, choice, choice) for choice in choices] + [(leaf, c.rsplit(".", 1)[-1], c) for c in choices]
        alike: dict[str, float] = {}
        for wanted, candidate, choice in pairs:
            ratio = difflib.SequenceMatcher(None, wanted.lower(), candidate.lower()).ratio()
            alike[choice] = max(ratio, alike.get(choice, 0.0))
        best = max(alike.values(), default=0.0)
        # clearly less alike ones only distract
        close = sorted((c for c, ratio in alike.items() if ratio >= max(0.6, best - 0.05)), key=lambda c: -alike[c])
    return f" (did you mean {' or '.join(close[:3])}?)" if close else ""
