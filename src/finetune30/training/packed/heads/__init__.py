"""What turns the tokens that are asked for into outputs, and says which tokens those are."""
