"""How an answer is scored: exactly, without a judge."""

from benchmarks.needle.prompts import Prompt


def score(prompt: Prompt, answer: str) -> float:
    """Return an answer's score, 0 to 1, case not counting.

    - substring_recall: the share of the prompt's answers that stand in it (RULER's for needles, tracing and words);
    - any: whether one of them does (RULER's for questions);
    - exact: whether it begins with the answers, in their order.
    """
    said = " ".join(answer.lower().split())
    wanted = [" ".join(one.lower().split()) for one in prompt.answers]
    if prompt.metric == "exact":
        return float(said.startswith(", ".join(wanted)))
    found = [one in said for one in wanted]
    return float(any(found)) if prompt.metric == "any" else sum(found) / len(found)
