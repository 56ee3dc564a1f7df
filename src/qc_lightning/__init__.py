"""A pass/fail inspector from two folders of photos, Correct and Incorrect."""
