"""Tables in and out: readers and writers of delimited text, Excel, LAS and DLIS."""
