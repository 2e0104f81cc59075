"""`python -m compodiff.cli`: the command line where a launcher starts modules, such as torchrun."""

from compodiff.cli import main

if __name__ == "__main__":
    main()
