"""How pictures are drawn and pages are made, for whoever shows something."""
