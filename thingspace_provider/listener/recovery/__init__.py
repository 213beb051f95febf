"""Has ThingSpace's queue emptied after the listener was down or refused something."""
