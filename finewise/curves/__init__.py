"""The learning curve: whether more data is worth its price, and fine-tuning its own."""
