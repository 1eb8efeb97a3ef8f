"""The bundled models ``tiny-llava`` and ``tiny-llava-plain``, and the scenes they learned from."""
