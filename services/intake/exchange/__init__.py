"""Exchange: an application as a file, JSON or a spreadsheet, out and in; a whole cycle's for the program."""
