"""Small code shared by the layers above. Standard library only; imports no other layer."""
