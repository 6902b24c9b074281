"""Fast ways to run a cell over a sequence, behind one dispatch; each has the loop over `step` as its oracle.

Bottom-up, in the order in which a cell becomes a kernel (docs/performance-kernels.md explains why):

    operations.py      one table of the pointwise operations: torch's names, derivative, cost, C and Triton of each
    graph.py           the graph of a step, its simplification, its derivative
    reads.py           what a step was traced with besides its arguments; if it changes, a new kernel is made
    trace.py           runs `step` on symbols; an unsupported operation is named, and the cell stays on the loop
    buffers.py         the buffers of a step, and places in them
    schedule.py        the phases of a step: their order, and where a later phase finds values
    plan.py            what is saved for the backward step, and the products after the loop over time
    layout.py          rows sorted by length and packed, without padding
    workspace.py       reused buffers
    call.py            one call of a kernel, and its gradients by the loop over `step`
    packed.py          a batch through a kernel
    kernel_cache.py    the kernels of a cell, created at its first call
    cpu/               C, compiled at first use:
        compiled.py        compiles, and caches the result in ~/.cache/unroll/kernels
        native.h           vectors, their functions, and what a step is called with
        native.c, native.py               matrix products, and what they are called with
        register_tiles.h, tiles.h, packing.h, outer.h, bytes.h   their parts: sums in registers and in the matrix unit,
                           packed matrices, weights' gradients, weights of 8 bits
        linear.py          products of the input side and of the weights' gradients
        codegen_c.py       the plan as C
        cpu_kernel.py      the compiled steps of a cell
        autograd.py        the forward and the backward pass as one autograd function
        step.c, unpacked.h, step.py       one time step of a stack of cells in one call
        step_gradients.py  the same, differentiably
        stepper.py         streams: a step without allocation, weights of 32, 16 or 8 bits
    triton/            the same plan as Triton:
        functions.py       operations that are more than an expression
        codegen_triton.py, walk.py        phases between products; one function for all steps
        triton_kernel.py, triton_steps.py the generated functions of a cell, and their calls
    torch_kernels.py   oneDNN's and cuDNN's, for the three cells that torch supports
    dispatch.py        which backend is used
"""

__all__: list[str] = []  # its modules are imported by name
