"""How people come to act for a government beside being added by its lead: by invitation, and by recovery."""
