"""From probabilities and labels to verdicts, figures and how sure they are."""
