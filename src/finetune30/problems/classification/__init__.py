"""Classification: a text (or two) belongs to one class, or to any number of them."""
