"""The paper's first experiments and its open questions, one command each: compodiff experiment NAME."""
