"""Give a text-to-speech language model a new language, accent or voice, reproducibly."""

__version__ = "0.1.0"
