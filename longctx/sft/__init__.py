"""Instruction tuning of long inputs: chats and prompts with completions, rendered, packed, and trained on by TRL."""
