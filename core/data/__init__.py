"""Published files (`fetch`), prepared sets (`store`), and how files are written and read (`files`)."""
