"""Letters: e-mail to people about what is theirs to do, written in the program's language and sent by SMTP."""
