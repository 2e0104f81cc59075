"""One function per DVC stage: it joins the rooms of the house and holds no logic of its own."""
