"""A sweep without Ray: what each trial drew and reached, kept in files, and what can be said of all of them."""
