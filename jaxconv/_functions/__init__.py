"""Functions with the field's usual names, each of them one or more calls of `conv_general_dilated`."""
