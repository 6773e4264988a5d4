"""Functions with the field's usual names: calls of `conv_general_dilated`, or what goes with it."""
