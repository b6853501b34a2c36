"""The widgets of the lessons, a file each; `_frame` holds what they share."""
