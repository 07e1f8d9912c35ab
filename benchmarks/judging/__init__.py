"""The papers' claims as small experiments, and the rule that judges them."""
