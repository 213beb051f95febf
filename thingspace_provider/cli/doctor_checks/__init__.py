"""What `thingspace doctor` looks at, one module for each part of the chain, in the order of the chain.

Every part is a generator of steps, so that each is shown when it is done; what later parts need is its return value.
"""
