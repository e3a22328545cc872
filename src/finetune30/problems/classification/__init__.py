"""One class a row, or several: the labels of texts."""
