"""Language models that go on with a text: a conversation, a prompt, or the text itself."""
