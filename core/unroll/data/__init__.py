"""Published files (`fetch`), prepared sets (`store`), how files are written and read (`files`); the user's own text
(`text`) and tables (`tables`)."""
