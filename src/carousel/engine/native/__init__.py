"""The native lowering: a `Loop` as machine code for this processor, made with LLVM.

plan.py says which operations run together and where values lie; nest.py, singles.py and matvec.py
write them in LLVM's text, math.py the elementary functions, lower.py the loop around them; jit.py
turns the text into functions and keeps them on disk, threads.py runs them.
"""

from carousel.engine.native.compiled import CompiledLoop, OneStep, compile_loop

__all__ = ["CompiledLoop", "OneStep", "compile_loop"]
