"""Atheris on one of the modules NAME_inputs.py: `python_fuzzer.py NAME [libFuzzer's words]`."""

import importlib
import sys

import atheris

if __name__ == "__main__":
    name = sys.argv.pop(1)
    with atheris.instrument_imports(include=["sandbox", "tomllib"]):
        inputs = importlib.import_module(f"tests.fuzz.{name}_inputs")
    atheris.Setup(sys.argv, inputs.one_input)
    atheris.Fuzz()
