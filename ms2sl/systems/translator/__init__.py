"""The back-translator of sentences: poses → text by an encoder–decoder."""
