"""The bundled model ``tiny-llava`` and the synthetic scenes it was trained on."""
