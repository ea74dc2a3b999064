"""The processor that something is measured on: a time says little without it."""

import os
import pathlib
import platform

# What matters to neural networks, by the names of Linux.
_X86 = {"avx2": "AVX2", "avx512f": "AVX-512", "avx512_bf16": "BF16", "amx_tile": "AMX"}
_X86 |= {"avx512_vnni": "VNNI", "avx_vnni": "VNNI"}
_ARM = {"asimd": "NEON", "asimddp": "dot products", "i8mm": "I8MM", "sve": "SVE", "bf16": "BF16"}


def cores():
    """How many of the machine's cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def processor(cpuinfo=pathlib.Path("/proc/cpuinfo")):
    """One line: how many cores this process may use, of which processor, with which instructions.

    Instructions are told on Linux; elsewhere there is the name alone.
    """
    fields = {}
    if cpuinfo.exists():
        lines = (line.partition(":") for line in cpuinfo.read_text(errors="replace").splitlines())
        for name, _, value in lines:  # every core's; the first one's stay
            fields.setdefault(name.strip(), value.strip())
    name = fields.get("model name") or platform.processor() or platform.machine()
    flags = set(fields.get("flags", fields.get("Features", "")).split())
    known = _X86 if "flags" in fields else _ARM
    instructions = dict.fromkeys(title for flag, title in known.items() if flag in flags)
    return f"{cores()} cores of {name}" + (f" ({', '.join(instructions)})" if instructions else "")
