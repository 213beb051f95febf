"""Stands for the program that deploys your receiver: it exports the receiver's URL."""

import pulumi

pulumi.export("url", "http://127.0.0.1:9001/sms/{path_token}/{account}")
