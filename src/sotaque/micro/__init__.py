"""How the shipped micro models are made: `python -m sotaque.micro WORD`, or the Snakefile beside."""
