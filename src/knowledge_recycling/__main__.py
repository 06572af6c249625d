"""`python -m knowledge_recycling` is `kr`."""

from knowledge_recycling.cli import main

if __name__ == "__main__":
    main()
