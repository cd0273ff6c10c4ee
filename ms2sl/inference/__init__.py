"""How utterances become poses, whichever system makes them: windows, batches, folders of output."""
