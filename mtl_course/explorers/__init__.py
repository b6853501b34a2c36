"""The widgets of the lessons, a file each; `frame` holds what they share."""
