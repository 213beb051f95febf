"""SMS callbacks on Verizon ThingSpace, as Pulumi resources."""
